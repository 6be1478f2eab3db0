"""A small language for binary targets: `dr: grade >= 1`, `young: sex == female and age_years < 40`, `glaucoma`.

    target      = [ NAME ":" ] either
    either      = both { "or" both }
    both        = negation { "and" negation }
    negation    = "not" negation | "(" either ")" | comparison | WORD
    comparison  = COLUMN ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) value
                | COLUMN [ "not" ] "in" "(" value { "," value } ")"
    value       = NUMBER | WORD | "quoted text"

A WORD alone is a view: an ODIR code or class name, or any other label, against normal (other eyes are left out);
`anemic` by the WHO's cut-offs; `referable`, grade 2 and worse. A NAME is needed unless the target is one WORD.

What the table does not say makes an answer unknown, and unknown answers follow Kleene's three-valued logic: unknown
and false is false, unknown or true is true, all else with unknown is unknown. Nothing is ever run as Python.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple, NoReturn, Protocol

import numpy as np

from ..runtime.errors import UserError
from .binary_views import number_column, text_column, view, view_classes
from .dataset import FundusDataset
from .schema import COLUMNS

_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?![\w.]))|(?P<word>[A-Za-z_]\w*)"
    r"""|(?P<quoted>"[^"]*"|'[^']*')|(?P<sign><=|>=|==|!=|[<>(),])"""
)
_NAME = re.compile(r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9 _-]*?)\s*:")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_KEYWORDS = ("and", "or", "not", "in")
_DEEPEST = 30


class Node(Protocol):
    """A part of an expression."""

    def truth(self, dataset: FundusDataset) -> np.ndarray:
        """1, 0, or NaN where unknown, of every image: float64 (n,)."""


@dataclass(frozen=True)
class Expression:
    """A parsed target.

    Attributes:
        text: as it was written.
        classes: names of the negative and the positive class.
    """

    text: str
    classes: tuple[str, str]
    root: Node

    def truth(self, dataset: FundusDataset) -> np.ndarray:
        """1 for the positive class, 0 for the negative one, NaN where the table does not tell: float64 (n,).

        Raises:
            UserError: a column that is not there, or that holds words where numbers are compared, or the reverse.
        """
        return self.root.truth(dataset)


@dataclass(frozen=True)
class _View:
    word: str

    def truth(self, dataset: FundusDataset) -> np.ndarray:
        return view(dataset, self.word)


@dataclass(frozen=True)
class _Comparison:
    column: str
    sign: str  # one of _COMPARE, or "in"
    values: tuple[float, ...] | tuple[str, ...]

    def truth(self, dataset: FundusDataset) -> np.ndarray:
        if self.column not in dataset.table.columns:
            columns = ", ".join(dataset.table.columns)
            raise UserError(f"has no column {self.column!r} for the target; it has {columns}", path=dataset.path)
        if isinstance(self.values[0], str):
            self._check_choices()
            found = text_column(dataset, self.column)
            known = found != ""
        else:
            found = number_column(dataset, self.column)
            known = ~np.isnan(found)
        if self.sign == "in":
            answer = np.isin(found, np.asarray(self.values, dtype=found.dtype))
        else:
            answer = _COMPARE[self.sign](found, self.values[0])
        return np.where(known, answer, np.nan)

    def _check_choices(self) -> None:
        choices = COLUMNS[self.column].choices if self.column in COLUMNS else ()
        wrong = [value for value in self.values if choices and value not in choices]
        if wrong:
            raise UserError(f"{self.column} is never {wrong[0]!r}; expected {' or '.join(choices)}")


@dataclass(frozen=True)
class _Not:
    part: Node

    def truth(self, dataset: FundusDataset) -> np.ndarray:
        return 1 - self.part.truth(dataset)


@dataclass(frozen=True)
class _Joined:
    parts: tuple[Node, ...]
    join: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def truth(self, dataset: FundusDataset) -> np.ndarray:
        return reduce(self.join, (part.truth(dataset) for part in self.parts))


def _and(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where((a == 0) | (b == 0), 0.0, np.minimum(a, b))


def _or(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where((a == 1) | (b == 1), 1.0, np.maximum(a, b))


def parse(text: str) -> Expression:
    """Read a target, `NAME: expression` or one word.

    Raises:
        UserError: what is wrong and at which character, counted from 1.
    """
    named = _NAME.match(text)
    parser = _Parser(text, named.end() if named else 0)
    root = parser.whole()
    if named:
        name = " ".join(named["name"].split())
        return Expression(text, (f"no {name}", name), root)
    if not isinstance(root, _View):
        raise UserError(f"target {text!r} has no name for its class", hint=f'Put one before it, e.g. "ill: {text}".')
    return Expression(text, view_classes(root.word), root)


class _Token(NamedTuple):
    kind: str  # number, word, quoted, sign or end
    text: str
    at: int  # characters before it


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, text: str, start: int):
        self.text, self.depth, self.position = text, 0, 0
        self.tokens = list(self._split(start))

    def _split(self, at: int):
        while at < len(self.text):
            found = _TOKEN.match(self.text, at)
            if found is None:
                self._fail(f"{self.text[at]!r} is not understood", at)
            if found.lastgroup != "space":
                yield _Token(found.lastgroup, found.group(), at)
            at = found.end()
        yield _Token("end", "", len(self.text))

    def whole(self) -> Node:
        root = self._either()
        if self._next.kind != "end":
            self._expect("and, or, or the end")
        return root

    def _either(self) -> Node:
        return self._joined("or", self._both, _or)

    def _both(self) -> Node:
        return self._joined("and", self._negation, _and)

    def _joined(self, word: str, part: Callable[[], Node], join: Callable) -> Node:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else _Joined(tuple(parts), join)

    def _negation(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            self._fail(f"more than {_DEEPEST} brackets and nots inside each other", self._next.at)
        if self._take("not"):
            node = _Not(self._negation())
        elif self._take("("):
            node = self._either()
            if not self._take(")"):
                self._expect("a closing bracket")
        else:
            node = self._statement()
        self.depth -= 1
        return node

    def _statement(self) -> Node:
        if self._next.kind != "word" or self._next.text in _KEYWORDS:
            self._expect("a column or a class")
        word = self._advance()
        if self._next.text in _COMPARE:
            return _Comparison(word.text, self._advance().text, (self._number(),))
        if self._take("=="):
            return _Comparison(word.text, "in", (self._value(),))
        if self._take("!="):
            return _Not(_Comparison(word.text, "in", (self._value(),)))
        if self._take("not"):
            if self._next.text != "in":
                self._expect("in")
            return _Not(self._membership(word))
        if self._next.text == "in":
            return self._membership(word)
        if word.text in ("N", "normal"):
            self._fail("normal is what every class is held against; expected a class or a comparison", word.at)
        return _View(word.text)

    def _membership(self, word: _Token) -> Node:
        self._advance()
        if not self._take("("):
            self._expect("a list in brackets, e.g. (1, 2)")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        if len({type(value) for value in values}) > 1:
            self._fail("words and numbers in one list", word.at)
        if not self._take(")"):
            self._expect("a comma or a closing bracket")
        return _Comparison(word.text, "in", tuple(values))

    def _number(self) -> float:
        if self._next.kind != "number":
            self._expect("a number")
        return float(self._advance().text)

    def _value(self) -> float | str:
        if self._next.kind == "number":
            return self._number()
        if self._next.kind == "quoted" and len(self._next.text) > 2:
            return self._advance().text[1:-1]
        if self._next.kind != "word" or self._next.text in _KEYWORDS:
            self._expect("a number or a word")
        return self._advance().text

    @property
    def _next(self) -> _Token:
        return self.tokens[self.position]

    def _advance(self) -> _Token:
        self.position += 1
        return self.tokens[self.position - 1]

    def _take(self, text: str) -> bool:
        """Step over the next token when it reads so."""
        if self._next.kind in ("word", "sign") and self._next.text == text:
            self._advance()
            return True
        return False

    def _expect(self, what: str) -> NoReturn:
        found = repr(self._next.text) if self._next.kind != "end" else "the end"
        self._fail(f"expected {what}, found {found}", self._next.at)

    def _fail(self, what: str, at: int) -> NoReturn:
        raise UserError(f"target {self.text!r}, character {at + 1}: {what}")
