"""Minimal pairs with known evidence: fourteen kinds, forty examples each, written by templates with several wordings.

In a template, « and » stand around the evidence: the words that decide between the target and its foil. They are not
part of the prompt.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nexttoken import NextTokenLM
from nexttoken.text.prompt import PromptLike

EXAMPLES_A_KIND = 40
EVIDENCE = re.compile("«(.*?)»", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A prompt, two next tokens, and the words that decide between them.

    Attributes:
        kind: of evidence.
        marked: the prompt, or the messages of a chat, with « and » around the evidence.
        target: the next token that the evidence supports.
        foil: the one that it speaks against.
        exchanged: the prompt with other evidence, after which the foil should follow, where the rest of the prompt
            names both: then only a model that changes its mind has used the evidence. None elsewhere.
    """

    kind: str
    marked: str | tuple[tuple[str, str], ...]
    target: str
    foil: str
    exchanged: str | None = None

    @property
    def prompt(self) -> PromptLike:
        """The prompt as a model gets it."""
        if isinstance(self.marked, str):
            return unmarked(self.marked)
        return [{"role": role, "content": unmarked(content)} for role, content in self.marked]

    def evidence(self, lm: NextTokenLM) -> list[tuple[int, int]]:
        """The characters (start, end) of the evidence in the text that the model reads."""
        if isinstance(self.marked, str):
            return spans(self.marked)
        messages = lm.prompt(self.prompt).messages
        return [
            (message.start + start, message.start + end)
            for message, (_, content) in zip(messages, self.marked, strict=True)
            for start, end in spans(content)
        ]


def unmarked(text: str) -> str:
    """A template's text."""
    return EVIDENCE.sub(r"\1", text)


def spans(text: str) -> list[tuple[int, int]]:
    """Where the evidence of a template stands in its text."""
    return [
        (found.start() - 2 * number, found.end() - 2 * number - 2)
        for number, found in enumerate(EVIDENCE.finditer(text))
    ]


Draw = Callable[[random.Random, int], tuple[Any, ...]]
WOMEN = ["Mary", "Emily", "Sarah", "Anna", "Julia", "Laura", "Alice", "Rachel", "Linda", "Karen", "Jane", "Susan"]
MEN = ["John", "David", "Peter", "Paul", "James", "Michael", "Robert", "Thomas", "Daniel", "Kevin", "Mark", "Tom"]
PLACES = ["store", "park", "school", "office", "library", "station", "garden", "museum"]
THINGS = ["drink", "book", "letter", "ring", "key", "gift", "map", "ticket"]
NOUNS = [
    ("key", "keys"), ("dog", "dogs"), ("author", "authors"), ("teacher", "teachers"), ("picture", "pictures"),
    ("driver", "drivers"), ("flower", "flowers"), ("student", "students"), ("doctor", "doctors"), ("ship", "ships"),
]  # fmt: skip
ATTRACTORS = [
    ("cabinet", "cabinets"), ("door", "doors"), ("house", "houses"), ("window", "windows"), ("tree", "trees"),
    ("wall", "walls"), ("table", "tables"), ("garden", "gardens"), ("bridge", "bridges"), ("car", "cars"),
]  # fmt: skip
BEFORE = ["near", "behind", "beside", "in front of"]
VERBS = [("is", "are"), ("was", "were"), ("has", "have")]
OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("left", "right"), ("open", "closed"), ("early", "late"),
    ("happy", "sad"), ("rich", "poor"), ("true", "false"), ("good", "bad"), ("fast", "slow"), ("day", "night"),
    ("light", "dark"), ("strong", "weak"), ("young", "old"), ("hard", "soft"), ("high", "low"), ("long", "short"),
]  # fmt: skip
WORDS = {
    "French": {"chien": "dog", "chat": "cat", "eau": "water", "pain": "bread", "livre": "book", "maison": "house",
               "rouge": "red", "soleil": "sun", "nuit": "night", "fleur": "flower", "roi": "king", "arbre": "tree"},
    "Spanish": {"perro": "dog", "gato": "cat", "agua": "water", "pan": "bread", "libro": "book", "casa": "house",
                "rojo": "red", "sol": "sun", "noche": "night", "flor": "flower", "rey": "king", "amigo": "friend"},
    "German": {"Hund": "dog", "Katze": "cat", "Wasser": "water", "Brot": "bread", "Buch": "book", "Haus": "house",
               "rot": "red", "Sonne": "sun", "Nacht": "night", "Blume": "flower", "Wein": "wine", "Freund": "friend"},
}  # fmt: skip
ANIMALS = ["tiger", "horse", "rabbit", "dolphin", "eagle", "snake", "elephant", "monkey", "lion", "wolf", "bear", "fox"]
COLOURS = ["red", "blue", "green", "yellow", "black", "white", "purple", "orange"]
CITIES = ["Paris", "London", "Berlin", "Rome", "Madrid", "Tokyo", "Chicago", "Boston"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine"]
RANDOM_WORDS = [
    "apple",
    "stone",
    "river",
    "cloud",
    "lamp",
    "chair",
    "forest",
    "paper",
    "engine",
    "music",
    "silver",
    "bottle",
    "winter",
    "mirror",
    "bridge",
    "candle",
    "garden",
    "rocket",
    "pencil",
    "island",
]
PARAMETERS = [
    ("width", "height"), ("price", "count"), ("first", "second"), ("start", "end"), ("name", "age"), ("left", "right"),
    ("base", "rate"), ("key", "value"), ("row", "column"), ("length", "depth"),
]  # fmt: skip
FILLER = [
    "The train arrived a few minutes late.", "Somebody had left a window open.", "It rained for most of the afternoon.",
    "The old clock in the hall struck four.", "A neighbour was painting his fence.", "The shop sold bread and milk.",
    "Nobody spoke for a while.", "The road led past a row of trees.", "Coffee was served in small cups.",
    "A cat slept on the warm stones.", "The newspaper lay on the table.", "Two children were playing with a ball.",
    "The lights went on in the street.", "He read the notice twice.", "The meeting had lasted for an hour.",
    "She put her coat on the chair.", "There was a smell of fresh paint.", "The radio played an old song.",
    "The stairs were steep and narrow.", "A boat crossed the lake slowly.", "They talked about the weather.",
    "The bus stopped in front of the hotel.", "The engine made a strange noise.", "Snow still lay on the roofs.",
    "The phone rang, and then it stopped.", "Lunch was soup and a piece of cheese.", "The river was higher than usual.",
    "Some of the chairs were broken.", "The man at the desk smiled.", "It was getting dark outside.",
]  # fmt: skip
LONGEST = 60  # sentences of filler, about 500 tokens


def _pair(chance: random.Random, items: list[Any]) -> tuple[Any, Any]:
    one, other = chance.sample(items, 2)
    return one, other


def _indirect_object(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    one, other = _pair(chance, WOMEN + MEN)
    place, thing = chance.choice(PLACES), chance.choice(THINGS)
    text = (
        f"When «{one}» and {other} went to the {place}, {other} gave a {thing} to",
        f"When {other} and «{one}» went to the {place}, {other} gave a {thing} to",
        f"«{one}» and {other} had a long talk in the {place}. Afterwards {other} handed the {thing} to",
        f"After {other} had met «{one}» at the {place}, {other} sent a {thing} to",
    )[wording % 4]
    return text, f" {one}", f" {other}"


def _agreement(attractors: int) -> Draw:
    def draw(chance: random.Random, wording: int) -> tuple[Any, str, str]:
        number = chance.randrange(2)
        noun, verb = chance.choice(NOUNS)[number], chance.choice(VERBS)
        phrases = [
            f" {before} the {other[1 - number]}"
            for before, other in zip(
                chance.sample(BEFORE, attractors), chance.sample(ATTRACTORS, attractors), strict=True
            )
        ]
        opening = ("The", "Everybody knows that the", "Today the", "It seems that the")[wording % 4]
        return f"{opening} «{noun}»{''.join(phrases)}", f" {verb[number]}", f" {verb[1 - number]}"

    return draw


def _reflexive(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    woman = chance.randrange(2)
    name = chance.choice((MEN, WOMEN)[woman])
    person = chance.choice((("king", "boy", "man", "waiter"), ("queen", "girl", "woman", "actress"))[woman])
    verb = chance.choice(["looked at", "blamed", "was proud of", "talked about", "bought a new car for", "hurt"])
    text = (
        f"«{name}» {verb}",
        f"The «{person}» {verb}",
        f"Yesterday «{name}» {verb}",
        f"The «{person}» in the garden {verb}",
    )
    words = (" himself", " herself")
    return text[wording % 4], words[woman], words[1 - woman]


def _determiner(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    number = chance.randrange(2)
    noun = chance.choice([*NOUNS, *ATTRACTORS])
    determiner = chance.choice((("this", "that"), ("these", "those"))[number])
    name, adjective = chance.choice(WOMEN + MEN), chance.choice(["old", "new", "little", "beautiful"])
    text = (
        f"{name} was looking for «{determiner}»",
        f"{name} has never liked «{determiner}» {adjective}",
        f"The {chance.choice(['people', 'children', 'neighbours'])} were all talking about «{determiner}»",
        f"The {chance.choice(['woman', 'man'])} had bought «{determiner}» {adjective}",
    )[wording % 4]
    return text, f" {noun[number]}", f" {noun[1 - number]}"


def _negation(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    noun, place = chance.choice(["student", "doctor", "teacher", "driver", "author"]), chance.choice(PLACES)
    adverb = chance.choice([" already", " always", " also"])
    name, verb = chance.choice(WOMEN + MEN), chance.choice(["buy", "find", "see", "read"])
    return (
        (f"«No» {noun} in the {place} has", " ever", adverb),
        (f"«Nobody» who works in the {place} has", " ever", adverb),
        (f"{name} did «not» {verb}", " any", " some"),
        (f"{name} left the {place} «without» saying", " anything", " something"),
        (f"«None» of the {noun}s in the {place} have", " ever", adverb),
        (f"The {noun}s in the {place} have «never» said", " anything", " something"),
    )[wording % 6]


def _induction(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    words = chance.sample(RANDOM_WORDS, chance.randrange(6, 13))
    place = chance.randrange(len(words) - 2)
    between = (" ", ", ", "; ", " - ")[wording % 4]
    last = words[max(0, place - wording % 2) : place + 1]
    target, foil = words[place + 1], chance.choice([word for word in words if word not in words[place : place + 2]])
    marked = [f"«{word}»" if word == target else word for word in words]
    return between.join([*marked, *last]) + between.rstrip(" "), f" {target}", f" {foil}"


def _opposite(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    chosen = chance.sample(OPPOSITES, 4)
    word, target, foil = *chosen[0], chosen[3][1]
    text = (
        f"The opposite of «{word}» is",
        f"The word «{word}» is the opposite of the word",
        f"{chosen[1][0]} - {chosen[1][1]}, {chosen[2][0]} - {chosen[2][1]}, «{word}» -",
        f"If something is not «{word}», then it is",
    )[wording % 4]
    return text, f" {target}", f" {foil}"


def _translation(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    language = chance.choice(list(WORDS))
    chosen = chance.sample(list(WORDS[language].items()), 4)
    word, target, foil = *chosen[0], chosen[3][1]
    shots = [f"{one}: {other}" for one, other in chosen[1:3]]
    text = (
        f"The {language} word «{word}» means",
        "\n".join([f"{language} words and their meaning in English", *shots, f"«{word}»:"]),
        f"In {language} they say «{word}», and in English we say",
        "\n".join(
            [f"{language}: {shot.replace(': ', ', English: ')}" for shot in shots] + [f"{language}: «{word}», English:"]
        ),
    )[wording % 4]
    return text, f" {target}", f" {foil}"


def _argument(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    one, other = chance.choice(PARAMETERS)
    if chance.randrange(2):
        one, other = other, one
    name = chance.choice(["compute", "update", "check", "build"])
    both = (f" «{one}», {other}", f" {other}, «{one}»")[chance.randrange(2)].strip()
    text, space = (
        (f"def {name}({both}):\n    return {other} *", " "),
        (f"function {name}({both}) {{\n  return {other} +", " "),
        (f"class Item:\n    def __init__(self, {both}):\n        self.{other} = {other}\n        self.«{one}» =", " "),
        (f"{name} = lambda {both}: {other} +", " "),
    )[wording % 4]
    return text, space + one, space + other


def _long_context(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    count = 5 + (LONGEST - 5) * (wording % EXAMPLES_A_KIND) // (EXAMPLES_A_KIND - 1)
    sentences = [chance.choice(FILLER) for _ in range(count)]
    name, day = chance.choice(WOMEN + MEN), _pair(chance, DAYS)
    animal, colour, city = _pair(chance, ANIMALS), _pair(chance, COLOURS), _pair(chance, CITIES)
    fact, question, (target, foil) = (
        (f"The secret word is «{animal[0]}».", "Now you may say it: the secret word is", animal),
        (f"The meeting takes place on «{day[0]}».", "So do not forget that the meeting takes place on", day),
        (
            f"{name}'s new car is «{colour[0]}».",
            f"In the end it was clear that the colour of {name}'s new car is",
            colour,
        ),
        (f"{name} comes from «{city[0]}».", f"Everybody in the room knew by then that {name} comes from", city),
    )[wording % 4]
    sentences.insert(chance.randrange(count // 2), fact)
    return " ".join([*sentences, question]), f" {target}", f" {foil}"


def _chat(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    animal, colour, city = _pair(chance, ANIMALS), _pair(chance, COLOURS), _pair(chance, CITIES)
    name = _pair(chance, WOMEN + MEN)
    other = chance.choice(["I like music.", "The weather is fine today.", "I slept well.", "I am learning to cook."])
    fact, question, answer, (target, foil), system = (
        (f"My name is «{name[0]}».", "What is my name?", "Your name is", name, False),
        (f"I live in «{city[0]}».", "Which city do I live in?", "You live in", city, False),
        (f"The user's favourite animal is the «{animal[0]}».", "What is my favourite animal?",
         "Your favourite animal is the", animal, True),
        (f"My house is painted «{colour[0]}».", "What is the colour of my house?", "The colour of your house is",
         colour, False),
    )[wording % 4]  # fmt: skip
    begun = [("system", fact)] if system else [("user", fact), ("assistant", "Thank you for telling me.")]
    middle = [("user", other), ("assistant", "That is good to hear.")] if wording % 8 < 4 else []
    return (*begun, *middle, ("user", question), ("assistant", answer)), f" {target}", f" {foil}"


LABELLED = {
    ("Mood", " positive", " negative"): (
        ["I loved every minute of it.", "A wonderful cast.", "Great music and a great story."],
        ["The plot made no sense.", "I was bored to tears.", "A terrible waste of money."],
        ["It was «wonderful».", "I «loved» the ending.", "The acting was «excellent»."],
        ["It was «awful».", "I «hated» the ending.", "The acting was «terrible»."],
    ),
    ("Kind", " animal", " plant"): (
        ["cat", "sparrow", "whale"], ["rose", "fern", "grass"],
        ["«horse»", "«dog»", "«cow»"], ["«tree»", "«tulip»", "«wheat»"],
    ),
    ("Topic", " sport", " politics"): (
        ["The team won the cup.", "She ran the race in ten minutes."],
        ["The senate voted on the law.", "The minister resigned."],
        ["The «goalkeeper» was injured.", "He scored a «goal»."],
        ["The «president» gave a speech.", "The «parliament» met on Monday."],
    ),
}  # fmt: skip


def _few_shot(chance: random.Random, wording: int) -> tuple[Any, str, str, str]:
    (head, *labels), (firsts, seconds, first_queries, second_queries) = chance.choice(list(LABELLED.items()))
    which = chance.randrange(2)
    shots = [(chance.choice(firsts), labels[0]), (chance.choice(seconds), labels[1])]
    if wording % 8 >= 4:
        shots += [(chance.choice(firsts), labels[0]), (chance.choice(seconds), labels[1])]
    chance.shuffle(shots)
    query, other = (chance.choice((first_queries, second_queries)[side]) for side in (which, 1 - which))
    line = (f"Text: {{}}\n{head}:", "{} ->", f"{{}}\n{head}:", f"Input: {{}} | {head}:")[wording % 4]
    lines = [line.format(text) + label for text, label in shots]
    text, exchanged = ("\n".join([*lines, line.format(each)]) for each in (query, other))
    return text, labels[which], labels[1 - which], unmarked(exchanged)


def _unit(chance: random.Random, wording: int) -> tuple[Any, str, str]:
    many, more = chance.randrange(3, 9), chance.randrange(20, 90)
    length = _pair(chance, ["metres", "feet", "inches", "miles"])
    money, time = _pair(chance, ["dollars", "euros", "pounds"]), _pair(chance, ["hours", "days", "weeks", "minutes"])
    number = _pair(chance, NUMBERS)
    return (
        (f"The first rope is {many} «{length[0]}» long, and the second one is {many + 1}",
         f" {length[0]}", f" {length[1]}"),
        (f"I paid {more} «{money[0]}» for the shoes, and for the shirt I paid another {more - 10}",
         f" {money[0]}", f" {money[1]}"),
        (f"There are «{number[0]}» cats in the yard. The number of cats in the yard is",
         f" {number[0]}", f" {number[1]}"),
        (f"The first trip took {many} «{time[0]}». The second trip took {many + 2}", f" {time[0]}", f" {time[1]}"),
    )[wording % 4]  # fmt: skip


KINDS: dict[str, Draw] = {
    "indirect object": _indirect_object,
    "agreement, one attractor": _agreement(1),
    "agreement, two attractors": _agreement(2),
    "reflexive": _reflexive,
    "determiner and noun": _determiner,
    "negative polarity": _negation,
    "induction": _induction,
    "opposite": _opposite,
    "translation": _translation,
    "argument in code": _argument,
    "fact in a long context": _long_context,
    "message of a chat": _chat,
    "few-shot label": _few_shot,
    "unit or number": _unit,
}


def examples(kind: str, count: int = EXAMPLES_A_KIND) -> Iterator[Example]:
    """The examples of a kind, always the same and no two alike; wordings take turns."""
    chance, seen = random.Random(kind), set[Example]()
    wording = 0
    while len(seen) < count:
        example = Example(kind, *KINDS[kind](chance, wording))
        wording += 1
        if example not in seen:
            seen.add(example)
            yield example
