"""Hostile and broken records of weights: one line that names file, cause and remedy."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vidcolor.errors import WeightsError
from vidcolor.models import create_model, weights
from vidcolor.models.entry import make_entry
from vidcolor.models.weights import load_model, manifest, save_weights, stored_weights

SMALL = "plain_cnn"
SHA = "0" * 64
DEEP = "[" * 100_000 + "]" * 100_000

# values of an entry's key, as JSON
BAD_VALUES = [
    ("architecture", '""'),
    ("architecture", '"../plain_cnn"'),
    ("architecture", "7"),
    ("architecture", json.dumps("a" * 10_000)),
    ("input_size", "0"),
    ("input_size", "-256"),
    ("input_size", "true"),
    ("input_size", "256.5"),
    ("input_size", '"256"'),
    ("input_size", "null"),
    ("input_size", "4097"),
    ("input_size", "1" + "0" * 4000),
    ("chroma_gain", "NaN"),
    ("chroma_gain", "Infinity"),
    ("chroma_gain", "-Infinity"),
    ("chroma_gain", "1e999"),
    ("chroma_gain", "0"),
    ("chroma_gain", "-1"),
    ("chroma_gain", "1e30"),
    ("chroma_gain", "true"),
    ("chroma_gain", '"1"'),
    ("color_space", "1"),
    ("file", '"/etc/passwd"'),
    ("file", '"a/b.safetensors"'),
    ("sha256", '"abc"'),
    ("data", "[]"),
    ("parameters", "-1"),
    ("parameters", "1.5"),
    ("gmacs", "NaN"),
    ("metrics", "[]"),
    ("metrics", '{"psnr": "high"}'),
    ("metrics", '{"psnr": NaN}'),
    ("metrics", '{"psnr": {}}'),
    ("options", "[4]"),
    ("options", '{"kernels": 1000000000}'),
    ("options", '{"kernels": NaN}'),
    ("options", '{"kernels": null}'),
    ("options", '{"kernels": {"a": 1}}'),
    ("options", json.dumps({"padding": "x" * 101})),
    ("options", json.dumps({f"o{n}": 1 for n in range(101)})),
    ("shards", '["a.safetensors"]'),
    ("shards", '{"a.safetensors": 1}'),
    ("shards", '{"a.safetensors": "abc"}'),
    *(
        ("shards", json.dumps({name: SHA}))
        for name in (
            *("", ".", "..", "../up.safetensors", "/etc/passwd", "a/b", "a\\b", "a\n", "a\0b"),
            "x" * 300,
        )
    ),
]


def own_file(folder: Path, record: str) -> Path:
    """A complete weights file of `SMALL` with this text as its entry."""
    path = folder / "own.safetensors"
    save_file(dict(create_model(SMALL).state_dict()), path, metadata={"vidcolor": record})
    return path


def refusal(load: Callable[[], Any], *names: str) -> str:
    """The message of the WeightsError: short, of one line, and with these names in it."""
    with pytest.raises(WeightsError) as caught:
        load()
    line = str(caught.value)
    assert "\n" not in line and len(line) < 500
    for name in names:
        assert name in line
    return line


@pytest.mark.parametrize(("key", "value"), BAD_VALUES)
def test_a_bad_value_in_a_file(key: str, value: str, tmp_path: Path) -> None:
    record = f'{{"architecture": "{SMALL}", "{key}": {value}}}'
    path = own_file(tmp_path, record)
    refusal(
        lambda: load_model(file=path), str(path), f"'{key}' is ", ", not ", "get the file again"
    )


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{bad",
        "null",
        "[1]",
        "{}",
        DEEP,
        f'{{"architecture": "{SMALL}", "options": {DEEP}}}',
        f'{{"architecture": "{SMALL}", "input_size": {"9" * 5000}}}',
        f'{{"architecture": "{SMALL}", "{"k" * 10_000}": 1}}',
        f'{{"architecture": "{SMALL}", "color_space": "oklab"}}',
        '{"architecture": "no_such_model"}',
        f'{{"architecture": "{SMALL}", "options": {{"depth": 3}}}}',
        f'{{"architecture": "{SMALL}", "options": {{"layers": 1000, "kernels": 10000}}}}',
        f'{{"architecture": "{SMALL}", "options": {{"layers": true}}}}',
    ],
    ids=range(14),
)
def test_a_bad_record_in_a_file(record: str, tmp_path: Path) -> None:
    path = own_file(tmp_path, record)
    refusal(lambda: load_model(file=path))


def test_the_messages_name_cause_and_remedy(tmp_path: Path) -> None:
    for record, words in {
        DEEP: ("nests too deep", "copy or train it again"),
        f'{{"a": {"9" * 5000}}}': ("4300 digits", "copy or train it again"),
        "{}": ("no architecture", "get the file again"),
        f'{{"architecture": "{SMALL}", "new": 1}}': ("unknown key 'new'", "newer vidcolor"),
    }.items():
        path = own_file(tmp_path, record)
        refusal(partial(load_model, file=path), str(path), *words)


def test_good_entries_are_taken() -> None:
    entry = make_entry(
        {
            "architecture": SMALL,
            "input_size": 32,
            "chroma_gain": 1,
            "shards": {"own-2.safetensors": SHA},
            "options": {"layers": 3, "tanh": True},
            "metrics": {"psnr": 20.5, "lpips": None, "evaluated_on": "my pictures, ü"},
        },
        "here",
    )
    assert (entry.input_size, entry.chroma_gain, entry.options["tanh"]) == (32, 1, True)


def test_options_that_do_not_fit_take_no_memory(tmp_path: Path) -> None:
    """172 million parameters, and 10,000 kernels a layer, are refused by the shapes in the file."""
    for options in ({"layers": 40, "kernels": 10_000}, {}):
        name = SMALL if options else "mean_chroma_fc"
        record = json.dumps({"architecture": name, "options": options})
        path = own_file(tmp_path, record)
        refusal(partial(load_model, file=path), str(path), "not weights of")


# ---------------------------------------------------------------- the header of safetensors


def raw_file(folder: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    path = folder / "raw.safetensors"
    size = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", size) + header + data)
    return path


def tensor_header(**values: Any) -> bytes:
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **values}
    return json.dumps({"x": tensor}).encode()


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", None),
        (b"{}", 2**62),
        (b"{}", 2**64 - 1),
        (b"{bad", None),
        (b"\xff\xfe", None),
        (b"[]", None),
        (DEEP.encode(), None),
        (b'{"__metadata__": 3}', None),
        (b'{"__metadata__": {"vidcolor": {"architecture": "fast"}}}', None),
        (tensor_header(dtype="F33"), None),
        (tensor_header(dtype="F4"), None),
        (tensor_header(dtype=3), None),
        (tensor_header(shape=[3]), None),
        (tensor_header(shape=[-2]), None),
        (tensor_header(shape=[2**40, 2**40]), None),
        (tensor_header(shape=[0, 2**62], data_offsets=[0, 0]), None),
        (tensor_header(shape="2"), None),
        (tensor_header(data_offsets=[0, 2**60]), None),
        (tensor_header(data_offsets=[8, 0]), None),
        (tensor_header(data_offsets=[4, 12]), None),
    ],
    ids=range(20),
)
def test_a_hostile_header(header: bytes, length: int | None, tmp_path: Path) -> None:
    path = raw_file(tmp_path, header, b"\0" * 8, length)
    refusal(lambda: load_model(SMALL, path), str(path))


@pytest.mark.parametrize("name", ["x" * 100_000, "a\nb", "\x1b[31m"])
def test_odd_names_of_tensors(name: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_file({**create_model(SMALL).state_dict(), name: torch.zeros(1)}, path)
    line = refusal(lambda: load_model(SMALL, path), str(path), "is unknown")
    assert "\x1b" not in line


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "whole.safetensors"
    save_file({k: v.to(torch.int32) for k, v in create_model(SMALL).state_dict().items()}, path)
    refusal(lambda: load_model(SMALL, path), str(path), "holds torch.int32, not torch.float32")


def test_a_sparse_tensor_in_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "sparse.pth"
    tensors = dict(create_model(SMALL).state_dict())
    first = next(iter(tensors))
    tensors[first] = tensors[first].to_sparse()
    torch.save(tensors, path)
    refusal(lambda: load_model(SMALL, path), str(path), first, "save it as a plain tensor")


# ---------------------------------------------------------------- manifests


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[]", "not a table of weights"),
        ("3", "not a table of weights"),
        (DEEP, "not readable as JSON"),
        ("\udcff", "not readable as JSON"),
        ('{"../up": {"architecture": "fast"}}', "not a table of weights"),
        ('{"fast": []}', "no architecture"),
        ('{"fast": {"architecture": "fast"}}', "names no file"),
        ('{"fast": {"architecture": "fast", "file": "../f", "sha256": ""}}', "'file' is '../f'"),
        (
            json.dumps({"fast": {"architecture": "fast", "file": "f", "shards": {"..": SHA}}}),
            "'shards' is",
        ),
    ],
    ids=range(9),
)
def test_a_bad_manifest(
    text: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    monkeypatch.setattr(weights, "shipped_folder", lambda: tmp_path)
    refusal(manifest, str(path), word)
    path.unlink()
    refusal(manifest, str(path), "not readable", "reinstall vidcolor")


@pytest.mark.parametrize(
    "text", ["[]", DEEP, "\udcff", '{"architecture": "fast", "input_size": 0}']
)
def test_a_bad_record_of_imported_weights(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDCOLOR_WEIGHTS", str(tmp_path))
    path = tmp_path / "mine.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    refusal(stored_weights, str(path))


def test_the_list_of_models_shows_any_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]
) -> None:
    """What looks like markup is text, and a file that went missing is no error."""
    monkeypatch.setenv("VIDCOLOR_WEIGHTS", str(tmp_path))
    entry = {
        "architecture": SMALL,
        "file": "mine.safetensors",
        "data": "[/red] [bold]pictures",
        "shards": {"gone.safetensors": SHA},
    }
    (tmp_path / "mine.safetensors").touch()
    (tmp_path / "mine.json").write_text(json.dumps(entry), encoding="utf-8")
    answer = command("models")
    assert answer.code == 0 and "[/red] [bold]pictures" in answer.out


def test_what_is_saved_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    entry = make_entry({"architecture": SMALL, "options": {"layers": 3}}, "here")
    save_weights(path, create_model(SMALL, layers=3).state_dict(), entry, torch.float16)
    assert load_model(file=path)[1] == entry
