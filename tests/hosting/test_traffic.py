"""The split of the requests for one name among its versions."""

import math
from collections import Counter
from pathlib import Path

import pytest

from models_api.configuration.file import ConfigurationFile
from models_api.exceptions import ConfigurationError
from models_api.hosting.assembly import build_registry
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.release import Release
from models_api.hosting.traffic import Share, Traffic
from tests.hosting.test_registry import host

KEYS = [f"customer-{number}".encode() for number in range(20_000)]


def versions(number: int) -> list[HostedModel]:
    return [host("DoublingModel", version=f"{each}.0") for each in range(1, number + 1)]


def split(*percents: float, models: list[HostedModel] | None = None) -> Traffic:
    models = models or versions(len(percents))
    return Traffic("number", [Share(*each) for each in zip(models, percents, strict=True)])


def counts(traffic: Traffic, keys: list[bytes | None]) -> Counter[str | None]:
    return Counter(traffic.choose(key).version for key in keys)


def holders(traffic: Traffic, version: str) -> set[bytes]:
    return {key for key in KEYS if traffic.choose(key).version == version}


@pytest.mark.parametrize(
    "percents",
    [(95, 5), (50, 50), (99.5, 0.5), (80, 10, 10), (60, 20, 10, 10), (0, 100), (100, 0)],
    ids=str,
)
def test_each_version_gets_its_share_of_the_requests_without_a_key(
    percents: tuple[float, ...],
) -> None:
    found = counts(split(*percents), [None] * 100_000)

    for number, percent in enumerate(percents, 1):
        bound = 5 * math.sqrt(100_000 * percent * (100 - percent)) / 100
        assert abs(found[f"{number}.0"] - percent * 1000) <= bound


@pytest.mark.parametrize(
    "pattern",
    [
        "%d",
        "user-%06d",
        "%d@example.org",
        "a-long-prefix-that-all-of-them-share/%08x",
        "%d" + "0" * 9,
    ],
)
@pytest.mark.parametrize("percents", [(95, 5), (70, 20, 10)], ids=str)
def test_each_version_gets_its_share_of_the_keys_whatever_they_look_like(
    pattern: str, percents: tuple[float, ...]
) -> None:
    found = counts(split(*percents), [(pattern % each).encode() for each in range(20_000)])

    for number, percent in enumerate(percents, 1):
        bound = 5 * math.sqrt(20_000 * percent * (100 - percent)) / 100
        assert abs(found[f"{number}.0"] - percent * 200) <= bound


@pytest.mark.parametrize("others", [(), (10,), (10, 7)], ids=str)
def test_a_canary_that_grows_keeps_the_keys_that_it_has(others: tuple[float, ...]) -> None:
    canary = f"{2 + len(others)}.0"
    held: set[bytes] = set()
    for percent in (1, 5, 10, 25, 50, 80):
        traffic = split(100 - sum(others) - percent, *others, percent)
        grown = holders(traffic, canary)
        assert grown > held
        held = grown


@pytest.mark.parametrize("place", [1, 2, 3])
def test_the_keys_of_the_other_canaries_stay_where_one_grows(place: int) -> None:
    before = split(70, 10, 10, 10)
    percents = [65.0, 10, 10, 10]
    percents[place] = 15
    after = split(*percents)

    for version in ("2.0", "3.0", "4.0"):
        assert holders(before, version) <= holders(after, version)


def test_a_canary_that_comes_moves_no_key_from_one_canary_to_another() -> None:
    assert holders(split(90, 10), "2.0") == holders(split(80, 10, 10), "2.0")


def test_a_key_is_taken_by_the_same_version_in_every_process_and_release() -> None:
    traffic = split(50, 50)

    chosen = "".join([traffic.choose(key).version[0] for key in KEYS[:40]])  # type: ignore[index]

    assert chosen == "2212111222122222112222112212122111122111"


def test_other_models_have_other_keys_in_their_canaries() -> None:
    models = versions(2)
    one, other = (
        Traffic(name, [Share(models[0], 90), Share(models[1], 10)]) for name in ("one", "other")
    )

    common = holders(one, "2.0") & holders(other, "2.0")

    assert len(common) < 0.02 * len(KEYS)


@pytest.mark.parametrize(
    ("percents", "taken_back", "expected"),
    [
        ((90, 10), {"2.0"}, [100, 0]),
        ((60, 20, 20), {"2.0"}, [75, 0, 25]),
        ((60, 20, 20), {"2.0", "3.0"}, [100, 0, 0]),
        ((0, 100), {"2.0"}, [100, 0]),
        ((50, 50), {"1.0", "2.0"}, [100, 0]),
    ],
)
def test_the_share_of_versions_that_were_taken_back_goes_to_the_others(
    percents: tuple[float, ...], taken_back: set[str], expected: list[float]
) -> None:
    traffic = split(*percents)

    traffic.take_back(dict.fromkeys(taken_back, "worse"))

    assert traffic.percents() == pytest.approx(expected)
    assert not counts(traffic, [None] * 1000).keys() & (taken_back - {"1.0"})


def test_a_version_that_is_taken_back_moves_no_other_key() -> None:
    traffic = split(60, 20, 20)
    before = {version: holders(traffic, version) for version in ("1.0", "3.0")}

    traffic.take_back({"2.0": "worse"})

    assert all(holders(traffic, version) >= keys for version, keys in before.items())
    assert not holders(traffic, "2.0")
    traffic.take_back({})
    assert {version: holders(traffic, version) for version in before} == before


def test_the_percents_are_those_of_the_configuration() -> None:
    assert split(60, 20, 15, 5).percents() == pytest.approx([60, 20, 15, 5])
    assert split(5, 60, 35).percents() == pytest.approx([5, 60, 35])


# What the configuration says

MODEL = "  - class_path: tests.fakes.models.DoublingModel\n"


def problem(tmp_path: Path, *versions: str) -> tuple[str, str, int]:
    path = tmp_path / "service.yaml"
    entries = [
        f"{MODEL}    version: '{number}'\n    {keys}\n" for number, keys in enumerate(versions, 1)
    ]
    path.write_text("models:\n" + "".join(entries))
    with pytest.raises(ConfigurationError) as caught:
        build_registry(ConfigurationFile(path))
    (found,) = caught.value.problems
    return found.key_path, found.message, found.line or 0


@pytest.mark.parametrize(
    ("entries", "key_path", "message", "line"),
    [
        (("traffic: 95", "traffic: 10"), "models[1].traffic", "adds up to 105 %", 7),
        (("traffic: 80", "traffic: 10"), "models[1].traffic", "adds up to 90 %", 7),
        (("traffic: 50",), "models[0].traffic", "adds up to 50 %", 4),
        (
            ("traffic: 50", "required: true", "required: true"),
            *("models[0].traffic", "adds up to 50 %, and 2 of them have none", 4),
        ),
        (
            ("traffic_key: header:X-User", "traffic_key: field:user"),
            *("models[1].traffic_key", 'the versions of "doubling" have 2 traffic keys', 7),
        ),
        (
            ("traffic: 50", "{traffic: 50, create_endpoint: false}"),
            *("models[1].traffic", "traffic does not go with create_endpoint: false", 7),
        ),
        (("traffic: 101",), "models[0].traffic", "100", 4),
        (("traffic: -1",), "models[0].traffic", "0", 4),
        (("traffic_key: X-User",), "models[0].traffic_key", "not the name of a header or field", 4),
        (("traffic_key: 'header:X User'",), "models[0].traffic_key", "not the name of a", 4),
        (("traffic_key: field:a..b",), "models[0].traffic_key", "not the name of a header", 4),
    ],
)
def test_shares_that_cannot_be_are_problems_of_the_file(
    tmp_path: Path, entries: tuple[str, ...], key_path: str, message: str, line: int
) -> None:
    plain = [each.strip("{}").replace(", ", "\n    ") for each in entries]

    found = problem(tmp_path, *plain)

    assert found[0] == key_path
    assert message in found[1]
    assert found[2] in (line, line + 1)


@pytest.mark.parametrize(
    ("percents", "expected"),
    [
        ((None, 5), [95, 5]),
        ((90, None, 5), [90, 5, 5]),
        ((33.33, 33.33, 33.34), [33.33, 33.33, 33.34]),
        ((100, None, None), [100, 0, 0]),
        ((33.33, 33.33, 33.33), [33.33, 33.33, 33.33]),
    ],
)
def test_a_version_without_a_share_takes_what_is_left(
    percents: tuple[float | None, ...], expected: list[float]
) -> None:
    models = [
        host("DoublingModel", version=str(number), traffic=percent)
        for number, percent in enumerate(percents)
    ]

    traffic = Release("doubling", models).traffic

    assert traffic is not None
    assert [share.percent for share in traffic.shares] == pytest.approx(expected)


def test_without_any_share_the_first_version_takes_all_requests() -> None:
    models = versions(3)

    release = Release("doubling", models)

    assert release.traffic is None
    assert release.model is models[0]


def test_what_takes_the_most_stands_for_the_release() -> None:
    models = [
        host("DoublingModel", version=str(number), traffic=percent)
        for number, percent in enumerate((40, 60))
    ]

    assert Release("doubling", models).model is models[1]


def test_shares_that_are_found_wrong_only_once_names_are_known_leave_all_to_the_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    models = [host("DoublingModel", version=str(number), traffic=60) for number in range(2)]

    release = Release("doubling", models)

    assert release.traffic is None
    assert "adds up to 120 %" in caplog.text
