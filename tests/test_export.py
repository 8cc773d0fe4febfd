"""Folders that leave the book: what is read back from them is what was put in."""

import numpy as np
import pytest
import torch
from conftest import ROOT, make_model
from test_compression import SEEN, learn

from layerwise import export
from layerwise.errors import InputError
from layerwise.study.models import classifier


@pytest.fixture(scope="module", params=["bert", "roberta-prelayernorm", "llama", "gpt2"])
def exported(request, tmp_path_factory):
    tokenizer = learn("bpe", special_first=True)
    tokenizer.model_max_length = 30
    model = make_model(request.param, vocab_size=len(tokenizer))
    folder = tmp_path_factory.mktemp("export") / "out"
    export.export_model(model, tokenizer, folder)
    return tokenizer, model, folder


def test_onnx_gives_the_logits_of_the_model_for_any_batch_length_and_padding(exported):
    tokenizer, model, folder = exported
    for texts in (SEEN, SEEN[:1], ["great"], 7 * SEEN):
        batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            asked = model(**batch).logits.numpy()
        found = {name: run(batch) for name, run in export.load_runtimes(folder).items()}
        np.testing.assert_allclose(found["pytorch"], asked, atol=1e-5)
        np.testing.assert_allclose(found["onnx"], asked, atol=1e-4)
        assert 0 < np.abs(found["onnx_int8"] - asked).max() < 0.1 * np.abs(asked).max() + 0.1


def test_no_file_that_leaves_names_a_folder_of_this_machine(exported):
    _, _, folder = exported
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {"config.json", "model.safetensors", "model.onnx", "model_int8.onnx"} <= {file.name for file in files}
    for file in files:
        content = file.read_bytes()
        assert not [name for name in (ROOT, torch.__path__[0], folder) if str(name).encode() in content], file
        assert b".py" not in content, file


def test_a_folder_that_exists_is_not_overwritten(tmp_path):
    tokenizer = learn("bpe", special_first=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(InputError, match="the folder mine exists in .*: move it away, it is not overwritten"):
        export.export_model(make_model("bert", vocab_size=len(tokenizer)), tokenizer, tmp_path / "mine")
    assert [file.name for file in tmp_path.rglob("*")] == ["mine", "notes.txt"]


def test_a_model_that_onnx_does_not_know_is_refused_in_one_sentence(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise torch.onnx.OnnxExporterError("no such operation\nand a long report")

    tokenizer = learn("bpe", special_first=True)
    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(
        InputError, match="^BertForSequenceClassification cannot be exported to ONNX: no such operation$"
    ):
        export.export_model(make_model("bert", vocab_size=len(tokenizer)), tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_in_half_precision_is_read_in_full(tmp_path):
    tokenizer = learn("bpe", special_first=True)
    model = make_model("bert", vocab_size=len(tokenizer)).bfloat16()
    classifier.save_classifier(tokenizer, model, tmp_path / "half")
    assert classifier.load_classifier(tmp_path / "half")[1].dtype == torch.float32


def test_a_model_that_onnx_gets_wrong_is_not_exported(tmp_path, monkeypatch):
    tokenizer = learn("bpe", special_first=True)
    tokenizer.model_max_length = 30
    monkeypatch.setattr(export, "_in_onnx", lambda file: lambda batch: np.zeros((len(batch["input_ids"]), 2)))
    with pytest.raises(InputError, match="BertForSequenceClassification in ONNX gives other logits, by .*"):
        export.export_model(make_model("bert", vocab_size=len(tokenizer)), tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()
