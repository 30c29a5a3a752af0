"""How numbers are written for readers: few digits, one rule for powers of ten, true minus signs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

DIGITS = 3  # significant ones of the largest number of a scale
PLAIN = range(-3, 5)  # powers of ten of numbers that are written without one: from 0.001 to 99,999
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class NumberFormat:
    """How all numbers of one scale are written: with the same decimals, and the same power of ten if they need one.

    Attributes:
        decimals: digits after the point; negative where numbers are rounded to tens, hundreds or thousands.
        exponent: of the power of ten that all numbers are multiples of; 0 for none.
        signed: whether positive numbers have a plus sign.
    """

    decimals: int
    exponent: int = 0
    signed: bool = True

    @classmethod
    def of(cls, largest: float, signed: bool, digits: int = DIGITS) -> NumberFormat:
        """The format in which the largest magnitude of a scale has some significant digits.

        Scales that end below 0.001 or above 99,999 have a power of ten.
        """
        power = int(f"{largest:.{digits - 1}e}".partition("e")[2])  # of the number as it is rounded; 0 of zero
        return cls(digits - 1 - power, 0, signed) if power in PLAIN else cls(digits - 1, power, signed)

    def __call__(self, number: float) -> str:
        """The number without its power of ten, which `factor` writes. What is rounded to zero has no sign."""
        rounded = round(Decimal(number).scaleb(-self.exponent), self.decimals)
        sign = "−" if rounded < 0 else "+" if self.signed and rounded > 0 else ""
        return f"{sign}{abs(rounded):.{max(0, self.decimals)}f}"

    @property
    def factor(self) -> str:
        """The power of ten that numbers are multiples of, such as 10⁻⁶; empty where there is none."""
        return "10" + str(self.exponent).translate(SUPERSCRIPTS) if self.exponent else ""

    def unit(self, unit: str) -> str:
        """What columns and axes of such numbers are in: 10⁻⁶ nats."""
        return f"{self.factor} {unit}" if self.factor else unit

    def after(self, unit: str) -> str:
        """What stands after a number that has its unit beside it: × 10⁻⁶ nats."""
        return f"× {self.factor} {unit}" if self.factor else unit

    def with_unit(self, number: float, unit: str) -> str:
        """A number that stands alone, with its power of ten and its unit: +2.71 × 10⁻⁶ nats."""
        return f"{self(number)} {self.after(unit)}"


def format_number(number: float, digits: int = 2, signed: bool = False) -> str:
    """A number that belongs to no scale, with some significant digits and no zeros at its end: 0.5, 1.2 × 10⁻⁷."""
    form = NumberFormat.of(number, signed, digits)
    text = form(number)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} × {form.factor}" if form.factor else text


def percent(share: float, digits: int = 2) -> str:
    """A share as a percentage."""
    return f"{format_number(100 * share, digits)} %"
