"""Public checkpoints: read without running code, checked, stored, and used by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.helpers.clips import encode, pattern
from tests.helpers.command_line import Vidcolor
from tests.helpers.films import read_frames
from vidcolor.errors import OutputError, WeightsError
from vidcolor.models import create_model, weights
from vidcolor.models.entry import Entry
from vidcolor.models.weights import (
    import_weights,
    load_model,
    save_weights,
    sha256_of,
    stored_weights,
    user_folder,
)

SMALL = "plain_cnn"  # an architecture of a few numbers


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """An eccv16 checkpoint as torch.save writes it, and its network."""
    torch.manual_seed(0)
    model = create_model("eccv16").eval()
    path = tmp_path_factory.mktemp("released") / "colorization ü.pth"
    torch.save(model.state_dict(), path)
    return path, model


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my store"
    monkeypatch.setenv("VIDCOLOR_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(create_model(SMALL).state_dict())


@pytest.fixture
def small(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    path = tmp_path / "small.pth"
    torch.save(tensors, path)
    return path


def clip(folder: Path) -> Path:
    return encode(folder / "f.mkv", "ffv1", "yuv420p", [pattern(n, 32, 32) for n in (0, 1)]).path


def same(model: nn.Module, tensors: dict[str, Tensor]) -> bool:
    state = model.state_dict()
    return state.keys() == tensors.keys() and all(torch.equal(state[k], tensors[k]) for k in state)


# ---------------------------------------------------------------- through the command line


def test_a_released_checkpoint_is_imported_and_used(
    command: Vidcolor, released: tuple[Path, nn.Module], store: Path, tmp_path: Path
) -> None:
    path, model = released
    run = ("run", clip(tmp_path), "--encoder", "ffv1", "--device", "cpu", "--size", "32", "--model")
    direct = command(*run, "eccv16", "--weights", path, "-o", tmp_path / "direct.mkv")
    assert direct.code == 0, direct.err

    answer = command("run", tmp_path / "f.mkv", "--model", "eccv16", "--dry-run")
    assert answer.code == 2 and len(answer.err.splitlines()) == 1
    assert "'vidcolor weights import colorization_release_v2-9b330a0b.pth" in answer.err

    answer = command("weights", "import", path, "--model", "eccv16")
    assert answer.code == 0, answer.err
    stored = store / "eccv16.safetensors"
    for word in ("82 tensors", "32,236,011 parameters", str(stored), "--model eccv16"):
        assert word in answer.out
    assert sorted(p.name for p in store.iterdir()) == ["eccv16.json", "eccv16.safetensors"]
    assert same(model, load_file(stored))

    answer = command(*run, "eccv16", "-o", tmp_path / "stored.mkv")
    assert answer.code == 0, answer.err
    pairs = list(
        zip(read_frames(tmp_path / "direct.mkv"), read_frames(tmp_path / "stored.mkv"), strict=True)
    )
    assert len(pairs) == 2
    for one, other in pairs:
        assert (one.to_ndarray() == other.to_ndarray()).all()

    listed = json.loads(command("models", "--json").out)
    assert listed["eccv16"]["sha256"] == sha256_of(stored) and "fast" in listed
    assert "eccv16" in command("models").out


def test_import_keeps_what_is_there(command: Vidcolor, small: Path, store: Path) -> None:
    again = ("weights", "import", small, "--model", SMALL)
    assert command(*again).code == 0
    before = (store / f"{SMALL}.safetensors").stat().st_mtime_ns
    answer = command(*again)
    assert answer.code == 2 and "--overwrite" in answer.err
    assert (store / f"{SMALL}.safetensors").stat().st_mtime_ns == before
    assert command(*again, "--overwrite").code == 0
    assert command(*again, "--name", "second").code == 0
    assert list(stored_weights()) == [SMALL, "second"]


def test_import_says_what_is_wrong(command: Vidcolor, small: Path, tmp_path: Path) -> None:
    wrong = {
        "add --model NAME": (small,),
        "no model architecture is called 'paint'": (small, "--model", "paint"),
        "not weights of 'skip_cnn'": (small, "--model", "skip_cnn"),
        "'fast' is a model that ships": (small, "--model", SMALL, "--name", "fast"),
        "cannot be the name": (small, "--model", SMALL, "--name", "../up"),
        "no such weights file": (tmp_path / "none.pth", "--model", SMALL),
    }
    for message, arguments in wrong.items():
        answer = command("weights", "import", *arguments)
        assert answer.code == 2 and message in answer.err and len(answer.err.splitlines()) == 1
    assert not user_folder().exists()


# ---------------------------------------------------------------- what a .pth file may hold


@pytest.mark.parametrize("form", ["plain", "legacy", "state_dict", "module", "both", "half"])
def test_forms_of_a_state_dict(form: str, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    state: dict[str, Tensor] = tensors
    if form in ("module", "both"):
        state = {f"module.{k}": v for k, v in state.items()}
    if form == "half":
        state = {k: v.half() for k, v in state.items()}
        tensors = {k: v.float() for k, v in state.items()}
    content = {"epoch": 3, "state_dict": state} if form in ("state_dict", "both") else state
    path = tmp_path / "w.PT"
    torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    model, entry = load_model(SMALL, path)
    assert same(model, tensors) and entry == Entry(SMALL) and not model.training


class Harmful:
    """Unpickling it would make a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_a_pickled_object_is_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    torch.save({"a": Harmful(str(trace))}, path)
    with pytest.raises(WeightsError, match=r"w\.pth: holds a pickled \w+\.open, which could") as e:
        load_model(SMALL, path)
    assert not trace.exists() and "\n" not in str(e.value) and "weights_only" not in str(e.value)
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(WeightsError, match=r"holds a pickled torch\.nn\.modules\.linear\.Linear"):
        load_model(SMALL, path)


def test_files_that_are_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    for content, message in (
        ([1, 2], "an object of type list"),
        ({}, "an empty dict"),
        ({"state_dict": {}}, "an empty dict"),
        ({"epoch": 3}, "'epoch' is of type int"),
        ({1: torch.zeros(1)}, "1 is of type Tensor"),
    ):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=message):
            load_model(SMALL, path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_cut_file(legacy: bool, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    for length in (0, 1, 10, len(data) // 3, len(data) // 2, len(data) - 5):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError, match=r"w\.pth: not a complete PyTorch file") as caught:
            load_model(SMALL, path)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError, match="not a complete PyTorch file"):
        load_model(SMALL, path)


def test_the_first_differing_key_is_named(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    first = next(iter(tensors))
    for change, message in (
        ({first: torch.zeros(3)}, f"{first} has shape \\(3,\\)"),
        ({"surplus": torch.zeros(3)}, "surplus is unknown"),
        ({first: torch.full_like(tensors[first], float("nan"))}, "not finite"),
    ):
        torch.save({**tensors, **change}, path)
        with pytest.raises(WeightsError, match=message):
            load_model(SMALL, path)
    torch.save({k: v for k, v in tensors.items() if k != first}, path)
    with pytest.raises(WeightsError, match=f"not weights of '{SMALL}': {first} is missing"):
        load_model(SMALL, path)


def test_old_files_lack_the_counts_of_batches(tmp_path: Path) -> None:
    state = create_model("skip_cnn").state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    torch.save(old, tmp_path / "w.pth")
    assert same(load_model("skip_cnn", tmp_path / "w.pth")[0], dict(state))


# ---------------------------------------------------------------- options and stored weights


def test_options_are_recorded_and_used(tmp_path: Path) -> None:
    options = {"layers": 4, "kernels": 2, "batch_norm": True}
    model = create_model(SMALL, **options).eval()
    path = tmp_path / "own.safetensors"
    save_weights(
        path, model.state_dict(), Entry(SMALL, options=options, chroma_gain=1.5), torch.float32
    )
    stored = import_weights(path, "four")
    for loaded, entry in (load_model(file=path), load_model("four")):
        assert same(loaded, dict(model.state_dict()))
        assert (entry.options, entry.chroma_gain, entry.architecture) == (options, 1.5, SMALL)
    assert stored.name == "four.safetensors"
    assert stored_weights()["four"].parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"depth": 3}, "has no option 'depth'"), ([4], r"entry's 'options' is \[4\]")],
)
def test_bad_options_are_named(options: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    header = json.dumps({"architecture": SMALL, "options": options})
    save_file({"x": torch.zeros(1)}, path, metadata={"vidcolor": header})
    with pytest.raises(WeightsError, match=message):
        load_model(file=path)


def test_an_unknown_name_lists_both_kinds(small: Path) -> None:
    with pytest.raises(WeightsError, match=r"lists them: fast.*; imported: none"):
        load_model("nonsense")
    import_weights(small, "mine", SMALL)
    with pytest.raises(WeightsError, match=r"lists them: fast.*; imported: mine"):
        load_model("nonsense")
    with pytest.raises(WeightsError, match=f"'{SMALL}' has no weights here: train it"):
        load_model(SMALL)
    with pytest.raises(WeightsError, match=r"download siggraph17-df00044c\.pth"):
        load_model("siggraph17")


def test_altered_or_deleted_stored_weights(small: Path) -> None:
    stored = import_weights(small, "mine", SMALL)
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.write_bytes(data)
    with pytest.raises(WeightsError, match=r"altered.*vidcolor weights import FILE --overwrite"):
        load_model("mine")
    stored.with_suffix(".json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"mine\.json: not readable"):
        load_model("mine")
    import_weights(small, "mine", SMALL, overwrite=True)
    stored.unlink()
    assert stored_weights() == {}
    with pytest.raises(WeightsError, match="no model is called 'mine'"):
        load_model("mine")


def test_a_folder_that_cannot_be_written(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("VIDCOLOR_WEIGHTS", str(tmp_path / "file" / "store"))
    with pytest.raises(OutputError, match="cannot be written"):
        import_weights(small, "mine", SMALL)


def test_nothing_half_is_left_when_writing_fails(
    small: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_weights(small, "mine", SMALL)
    before = {p.name: p.read_bytes() for p in store.iterdir()}

    def full(tensors: object, path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        import_weights(small, "mine", SMALL, overwrite=True)
    assert {p.name: p.read_bytes() for p in store.iterdir()} == before


def test_the_folder_is_the_systems_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDCOLOR_WEIGHTS")
    assert user_folder().parts[-2:] == ("vidcolor", "weights")
    assert user_folder().is_absolute()
