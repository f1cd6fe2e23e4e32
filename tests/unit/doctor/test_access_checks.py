"""Checks of access lists."""

from tests.support.patient import SETUP, found, patient


def test_a_set_that_is_missing_is_found_with_the_services_that_name_it() -> None:
    setup = SETUP._replace(named_sets={"blocked": ("web", "dns"), "friends": ("web",), "many": tuple("abcdefg")})
    (finding, other) = found("access_set_missing", patient(setup=setup, missing_sets=("blocked", "many")))
    assert (finding.about, finding.evidence) == ("blocked", "services: web, dns; the table is ip appliance_access")
    assert finding.commands == ("nft add element ip appliance_access blocked '{ 192.0.2.0/24 }'",)
    assert other.evidence.startswith("services: a, b, c, d, e, …;")
    assert found("access_set_missing", patient(setup=setup, missing_sets=())) == []
