"""Licences: under which terms images may be passed on that were made by a generator of given training data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...runtime.errors import UserError


@dataclass(frozen=True)
class Licence:
    """Terms that let others have what is made from the data.

    Attributes:
        name: as people write it.
        card: the identifier in a dataset card's header; "other" for one that has none there.
        url: the text of the licence; "" when it is not known.
        noncommercial: only for purposes that are not commercial.
        share_alike: what is made from it comes under the same licence.
    """

    name: str
    card: str = "other"
    url: str = ""
    noncommercial: bool = False
    share_alike: bool = False

    @property
    def conditions(self) -> set[str]:
        """What whoever passes the data on must ask of others, too."""
        asked = {"non-commercial use only": self.noncommercial, "the same licence (share alike)": self.share_alike}
        return {what for what, is_asked in asked.items() if is_asked}


@dataclass(frozen=True)
class Terms:
    """The terms of a published set.

    Attributes:
        licence: of the set.
        inherited: the training data's terms as recorded, word for word; "" when none were.
        stated: the licence was stated by the publisher, not inherited.
    """

    licence: Licence
    inherited: str
    stated: bool

    def sentences(self) -> str:
        """Where the licence comes from."""
        recorded = f'"{self.inherited}"' if self.inherited else "not recorded"
        if not self.stated:
            return f"Inherited from the data that the generator was trained on; their recorded terms: {recorded}."
        return (
            f"Stated by the publisher, not inherited. The recorded terms of the data that the generator was trained on: "
            f"{recorded}. That those terms, or a permission beyond them, allow this is the publisher's statement; it was "
            "not checked."
        )


def _creative_commons(kind: str, version: str, **conditions: bool) -> Licence:
    url = f"https://creativecommons.org/licenses/{kind}/{version}/"
    return Licence(f"CC {kind.upper()} {version}", f"cc-{kind}-{version}", url, **conditions)


_KNOWN = (
    Licence("CC0 1.0", "cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    Licence("Apache-2.0", "apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
    Licence("MIT", "mit", "https://opensource.org/license/mit"),
    Licence("PDDL 1.0", "pddl", "https://opendatacommons.org/licenses/pddl/1-0/"),
    Licence("ODC-By 1.0", "odc-by", "https://opendatacommons.org/licenses/by/1-0/"),
    Licence("ODbL 1.0", "odbl", "https://opendatacommons.org/licenses/odbl/1-0/", share_alike=True),
    *(_creative_commons("by", version) for version in ("3.0", "4.0")),
    *(_creative_commons("by-sa", version, share_alike=True) for version in ("3.0", "4.0")),
    *(_creative_commons("by-nc", version, noncommercial=True) for version in ("3.0", "4.0")),
    *(_creative_commons("by-nc-sa", version, noncommercial=True, share_alike=True) for version in ("3.0", "4.0")),
)


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


_BY_KEY = {_key(name): licence for licence in _KNOWN for name in (licence.name, licence.card)} | {
    "cc0": _KNOWN[0], "apache-license-2.0": _KNOWN[1], "mit-license": _KNOWN[2],
}  # fmt: skip

# Each is looked for anywhere in the recorded terms, in this order.
_REFUSED = (
    (r"\bnd\b|no.?deriv", "forbid that what is made from them is passed on"),
    (r"not (to be|for) (passed on|redistribut\w*|shared)|no redistribution|do not redistribute|not be redistributed",
     "forbid that they are passed on"),
    (r"research (use )?only|(for|only) research|research (and|or) education|academic|competition|data use agreement",
     "are for research by those who obtained them, and do not say that what is made from them may be passed on"),
    (r"propriet|confidential|all rights reserved|internal use", "keep all rights"),
)  # fmt: skip


def terms_of(inherited: str, stated: str | None = None) -> Terms:
    """The terms of a set made by a generator whose training data had the terms `inherited`.

    Args:
        inherited: as in dataset.json, e.g. "CC BY 4.0"; of several sources "A and B"; "" or "unknown" when not recorded.
        stated: the licence that the publisher states; None inherits.

    Raises:
        UserError: nothing is stated and the inherited terms forbid it, are for research only, or are not known; the stated
            licence forbids it itself, or drops a condition of inherited terms that are known.
    """
    inherited = "" if _key(inherited) in ("", "unknown", "none") else " ".join(inherited.split())
    known = _strictest(inherited)
    if stated is None:
        if known is None:
            raise _refusal(inherited)
        return Terms(known, inherited, stated=False)
    licence = _stated(stated)
    dropped = known.conditions - licence.conditions if known is not None and licence != known else set()
    if dropped and licence in _KNOWN:
        raise UserError(
            f"--licence {stated!r} drops what the training data's licence ({inherited}) asks for: "
            f"{' and '.join(sorted(dropped))}"
        )
    return Terms(licence, inherited, stated=True)


def why_refused(text: str) -> str:
    """What in recorded terms stands against passing on, as "forbid ..." or "are for ..."; "" when nothing is found."""
    return next((reason for pattern, reason in _REFUSED if re.search(pattern, text.lower())), "")


def _refusal(inherited: str) -> UserError:
    hint = "If you hold the permission, state the licence of the published set with --licence."
    if not inherited:
        return UserError("the terms of the training data are not recorded (licence in dataset.json); expected a licence "
                         "that lets others have what is made from them", hint=hint)  # fmt: skip
    reason = why_refused(inherited) or "are not known here, so whether this may be passed on is not known either"
    return UserError(f"the terms of the training data ({inherited!r}) {reason}", hint=hint)


def _strictest(inherited: str) -> Licence | None:
    """The licence that keeps the conditions of all sources; None when there is none or one source's is not known."""
    if why_refused(inherited):
        return None
    parts = [_BY_KEY.get(_key(part)) for part in inherited.split(" and ")]
    if None in parts:
        return None
    asked = set().union(*(part.conditions for part in parts))
    return next((part for part in parts if part.conditions == asked and _may_cover(part, parts)), None)


def _may_cover(licence: Licence, parts: list[Licence]) -> bool:
    """Share alike means this very licence, so two different ones of that kind do not go together."""
    return all(part == licence for part in parts if part.share_alike)


def _stated(text: str) -> Licence:
    reason = why_refused(text)
    if reason or _key(text) in ("", "unknown", "none"):
        raise UserError(f"--licence is {text!r}; expected terms under which others may have the set, such as CC-BY-4.0"
                        + (f"; these {reason}" if reason else ""))  # fmt: skip
    return _BY_KEY.get(_key(text)) or Licence(" ".join(text.split()))
