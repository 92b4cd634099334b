"""A model that cannot read its texts is refused: no vocabulary in the folder, or none that knows these words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from text_world import MAX_TOKENS, save_tiny, texts, transformers

from proxyaudit.cli.main import main
from proxyaudit.errors import InputError
from proxyaudit.models.huggingface import Tokenizer, check_readable, make_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec


def tokenizer_of(folder: Path) -> Tokenizer:
    return make_tokenizer(HuggingFaceSpec(kind="huggingface", path=str(folder), max_length=MAX_TOKENS), folder)


@pytest.mark.parametrize("kind", ["bert", "albert", "gpt2", "t5", "llama"])
def test_a_folder_without_a_vocabulary_is_no_model_of_texts(tmp_path: Path, kind: str) -> None:
    folder = save_tiny(kind, tmp_path / kind)
    assert tokenizer_of(folder)(["she w1"])[0]
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="holds no tokenizer"):
        tokenizer_of(folder)
    for path in folder.glob("token*"):
        path.unlink()
    with pytest.raises(InputError, match="holds no tokenizer"):
        tokenizer_of(folder)


def test_vocabularies_in_other_files_and_bytes_that_need_none(tmp_path: Path) -> None:
    t = transformers()
    folder = save_tiny("gpt2", tmp_path / "gpt2")
    for path in folder.glob("token*"):
        path.unlink()
    (folder / "vocab.json").write_text('{"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}')
    with pytest.raises(InputError, match="holds no tokenizer"):
        tokenizer_of(folder)
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    assert tokenizer_of(folder)(["abb"]) == [[3, 2]]
    folder = save_tiny("bert", tmp_path / "bert")
    for path in folder.glob("token*"):
        path.unlink()
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nshe\n")
    assert tokenizer_of(folder)(["she"]) == [[2, 5, 3]]
    (folder / "vocab.txt").unlink()
    t.ByT5Tokenizer().save_pretrained(folder)
    with pytest.raises(InputError, match="embeddings for"):
        tokenizer_of(folder)(["she"])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 384}))
    assert len(tokenizer_of(folder)(["she"])[0]) == 4


def test_texts_that_a_tokenizer_does_not_know(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(save_tiny("bert", tmp_path / "bert"))
    plain = list(texts(40)["text"])
    check_readable(tokenizer, [*plain, None, " "], where="x")
    check_readable(tokenizer, [None, ""], where="x")
    check_readable(tokenizer, plain + [text.upper() for text in plain[:35]], where="x")
    check_readable(tokenizer, [f"she {'zzz ' * 8}"] * 40, where="x")  # one word in nine is known
    for unread in ([text.upper() for text in plain], [f"she {'zzz ' * 10}"] * 40, plain[:10] + ["\u4f60\u597d"] * 11):
        with pytest.raises(InputError, match="knows next to no word"):
            check_readable(tokenizer, unread, where="x")


def test_a_run_on_such_texts_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_tiny("bert", tmp_path / "bert")
    frame = texts(400)
    frame.assign(text=frame["text"].str.upper()).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "r.yaml").write_text(
        "name: t\ndata: {path: t.csv, text: text, target: y, protected: [sex]}\nregimes: [real]\n"
        f"model: {{kind: huggingface, path: bert, max_length: {MAX_TOKENS}}}\n"
    )
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "knows next to no word" in capsys.readouterr().err
    (folder / "tokenizer.json").unlink()
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "holds no tokenizer" in err
