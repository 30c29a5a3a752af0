"""Numbers as they are read: three significant digits at most, one rule for powers of ten, true minus signs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpret.results.numbers import NumberFormat, format_number, percent


@pytest.mark.parametrize(
    ("largest", "numbers", "texts", "factor"),
    [
        (2.0, [2, -0.00054, -5.7e-6, 0.125, -1.995], ["+2.00", "0.00", "0.00", "+0.12", "−2.00"], ""),
        (0.5, [0.5, -0.0004, 0.0006], ["+0.500", "0.000", "+0.001"], ""),
        (12.34, [-12.34, 0.04, 0.06], ["−12.3", "0.0", "+0.1"], ""),
        (999.4, [999.4, -0.4], ["+999", "0"], ""),
        (999.6, [999.6, -4], ["+1000", "0"], ""),
        (12345, [12345, -60, 40], ["+12300", "−100", "0"], ""),
        (99949, [99949], ["+99900"], ""),
        (99951, [99951, -30000], ["+1.00", "−0.30"], "10⁵"),
        (0.001, [0.001, -0.000004], ["+0.00100", "0.00000"], ""),
        (0.00099949, [0.00099949, -0.0001], ["+9.99", "−1.00"], "10⁻⁴"),
        (2.7e-6, [2.7e-6, -1.2e-7, 1e-9], ["+2.70", "−0.12", "0.00"], "10⁻⁶"),
        (9.996, [9.996, 1], ["+10.0", "+1.0"], ""),
        (1.5e300, [1.5e300, 1.0], ["+1.50", "0.00"], "10³⁰⁰"),
        (0.0, [0.0, -0.0], ["0.00", "0.00"], ""),
    ],
)
def test_numbers_of_one_scale(largest, numbers, texts, factor):
    form = NumberFormat.of(largest, signed=True)
    assert [form(number) for number in numbers] == texts
    assert form.factor == factor
    assert form.unit("nats") == f"{factor} nats".strip()


def test_unsigned_numbers_have_no_plus_and_lone_ones_their_power_and_unit():
    assert NumberFormat.of(2, signed=False)(1.5) == "1.50"
    assert NumberFormat.of(2, signed=True).with_unit(-1.5, "nats") == "−1.50 nats"
    assert NumberFormat.of(2.7e-6, signed=True).with_unit(2.7e-6, "nats") == "+2.70 × 10⁻⁶ nats"


@given(
    largest=st.floats(1e-300, 1e300),
    shares=st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1),
)
def test_all_numbers_of_a_scale_have_the_same_decimals(largest, shares):
    form = NumberFormat.of(largest, signed=True)
    texts = [form(largest), *(form(share * largest) for share in shares)]
    assert len({len(text.partition(".")[2]) for text in texts}) == 1
    for text in texts:
        digits = text.strip("+−")
        assert len(digits.replace(".", "").lstrip("0").rstrip("0")) <= 3
        assert (digits.strip("0.") == "") == (text[0] not in "+−")
        assert "e" not in text
        assert "-" not in text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.5, "0.5"), (0.123, "0.12"), (1.0, "1"), (0.001, "0.001"), (0.00057, "5.7 × 10⁻⁴"), (1e-7, "1 × 10⁻⁷"),
     (123, "120"), (0, "0"), (-3.46, "−3.5"), (123456, "1.2 × 10⁵")],
)  # fmt: skip
def test_lone_numbers(number, text):
    assert format_number(number) == text


def test_percentages():
    assert [percent(share) for share in (1, 0.5, 0.1234, 1e-7)] == ["100 %", "50 %", "12 %", "1 × 10⁻⁵ %"]
    assert format_number(2.4, signed=True) == "+2.4"
