import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.publishing.licences import terms_of


@pytest.mark.parametrize(
    ("recorded", "card"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("CC BY 4.0", "cc-by-4.0"),
        ("cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0"),
        ("CC0", "cc0-1.0"),
        ("CC BY 4.0 and Apache-2.0", "cc-by-4.0"),
        ("CC BY 4.0 and CC BY-NC 4.0", "cc-by-nc-4.0"),
    ],
)
def test_licences_that_allow_it_are_inherited(recorded, card):
    terms = terms_of(recorded)
    assert terms.licence.card == card and not terms.stated and terms.inherited == recorded


@pytest.mark.parametrize(
    ("recorded", "why"),
    [
        ("research use only; not for redistribution", "forbid that they are passed on"),
        ("rules of the competition: research and education, not to be passed on", "forbid that they are passed on"),
        ("research use only", "for research"),
        ("CC BY-NC-ND 4.0", "forbid that what is made from them"),
        ("All rights reserved", "keep all rights"),
        ("", "not recorded"),
        ("unknown", "not recorded"),
        ("licence of the moon", "are not known"),
        ("CC BY 4.0 and unknown", "are not known"),
        ("CC BY-SA 4.0 and CC BY-NC-SA 4.0", "are not known"),
        ("CC BY-SA 4.0 and CC BY-NC 4.0", "are not known"),
    ],
)
def test_others_are_refused_until_the_publisher_states_one(recorded, why):
    with pytest.raises(UserError, match=why) as caught:
        terms_of(recorded)
    assert "--licence" in str(caught.value)
    terms = terms_of(recorded, "CC-BY-NC-4.0")
    assert terms.stated and terms.licence.noncommercial
    assert "publisher's statement" in terms.sentences()
    assert (recorded if recorded not in ("", "unknown") else "not recorded") in terms.sentences()


def test_a_statement_keeps_the_conditions_of_known_terms():
    assert terms_of("CC BY 4.0", "CC BY-NC 4.0").licence.noncommercial
    with pytest.raises(UserError, match="drops .* non-commercial use only"):
        terms_of("CC BY-NC 4.0", "CC BY 4.0")
    with pytest.raises(UserError, match="same licence"):
        terms_of("CC BY-SA 4.0", "MIT")


@pytest.mark.parametrize("stated", ["", "unknown", "research use only", "CC BY-ND 4.0", "not to be passed on"])
def test_what_cannot_be_passed_on_cannot_be_stated(stated):
    with pytest.raises(UserError, match="--licence"):
        terms_of("CC BY 4.0", stated)


def test_a_licence_of_the_publisher_s_own_is_named():
    licence = terms_of("unknown", "Eye Bank  Licence 3").licence
    assert (licence.name, licence.card, licence.url) == ("Eye Bank Licence 3", "other", "")


_WORDS = st.lists(
    st.sampled_from(["CC BY 4.0", "CC BY-NC 4.0", "CC BY-SA 4.0", "MIT", "CC0 1.0", "x", "research only"]), max_size=4
)


@given(_WORDS, st.none() | st.sampled_from(["MIT", "CC BY-NC-SA 4.0", "no derivatives", "own"]))
def test_whatever_is_recorded_no_condition_of_a_source_is_lost(words, stated):
    try:
        terms = terms_of(" and ".join(words), stated)
    except UserError:
        return
    if not terms.stated:
        alone = [terms_of(word).licence for word in words]
        assert all(part.conditions <= terms.licence.conditions for part in alone)
