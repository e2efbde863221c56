"""An exported folder: complete, the same answers elsewhere, plain transformers and engines compute the same logits from it."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import emotion_llm
from emotion_llm.inference.export_folder import EXPORT
from emotion_llm.inference.exporting import ExportSettings, export
from emotion_llm.inference.prompt_embeddings import ask_engine, prompt_embeddings
from emotion_llm.inference.trained_run import find_run
from emotion_llm.language.packed import Example
from emotion_llm.runtime.errors import UserError
from tests.helpers.small_world import SmallWorld


@pytest.fixture(scope="module")
def exports(description_run, tmp_path_factory) -> dict[bool, Path]:
    """merged -> folder."""
    folder, found = tmp_path_factory.mktemp("exports"), find_run(description_run)
    return {merge: export(found, ExportSettings(folder / str(merge), run=description_run, merge=merge)) for merge in (True, False)}


@pytest.fixture(scope="module")
def clip(small_world) -> Path:
    return sorted((small_world.raw / "emilya").rglob("*.bvh"))[0]


@pytest.mark.parametrize("merge", [True, False])
def test_an_export_answers_elsewhere_without_run_data_or_llm(small_world, recognition_run, clip, tmp_path, merge):
    world = SmallWorld(Path(shutil.copytree(small_world.folder, tmp_path / "world")))
    run = world.train(world.folder / "run", "description", start_from=recognition_run, max_steps=1).run
    model = emotion_llm.load(run)
    expected = model.read(clip)
    exported = export(find_run(run), ExportSettings(tmp_path / "exported", run=run, merge=merge))
    world.folder.rename(tmp_path / "moved")
    elsewhere = emotion_llm.load(exported)
    answer = elsewhere.read(clip)
    assert (answer.emotion, answer.explanation) == (expected.emotion, expected.explanation)
    assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    says = "The movement is fast."
    assert elsewhere.judge(says, elsewhere.open(clip)) == model.judge(says, model.open(clip)) != ()


@pytest.mark.parametrize("merge", [True, False])
def test_plain_transformers_computes_the_same_logits(description_run, exports, clip, merge):
    model = emotion_llm.load(description_run)
    (windows,) = model.encode([model.open(clip)])
    example = Example(model.prompts.description("joy"), windows[0], answers=())
    inputs = model.model.generation_inputs([example])
    ours = model.model.base_llm
    ours.set_attn_implementation("sdpa")
    plain = AutoModelForCausalLM.from_pretrained(exports[merge] / "llm", dtype=torch.float32)
    if not merge:
        plain = PeftModel.from_pretrained(plain, exports[merge] / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(**inputs).logits, ours(**inputs).logits, rtol=1e-4, atol=1e-4)
    assert len(AutoTokenizer.from_pretrained(exports[merge] / "llm")) == len(model.prompts.text_tokenizer)


def test_an_export_lists_every_file_and_names_no_path_of_the_machine(small_world, exports):
    for merge, folder in exports.items():
        record = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert set(record["sha256"]) == files - {EXPORT}
        assert {"LICENSE", "README.md", "encoder/encoder.json", "skeleton_tokenizer.safetensors", "llm/config.json"} <= files
        assert ("adapter/adapter_model.safetensors" in files) is not merge
        for name in files:
            if name.endswith((".json", ".md", ".jinja")):
                assert str(small_world.folder) not in (folder / name).read_text(encoding="utf-8"), name
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "rank 4" in card
        assert "NAME AND REVISION" not in card


def test_a_changed_missing_or_linked_file_is_refused(exports, tmp_path):
    folder = shutil.copytree(exports[True], tmp_path / "export")
    path = folder / "skeleton_tokenizer.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(UserError, match=r"skeleton_tokenizer.safetensors is not the file that was exported \(its hash differs\)"):
        emotion_llm.load(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"skeleton_tokenizer.safetensors is missing; export the run again"):
        emotion_llm.load(folder)
    (tmp_path / "outside").write_bytes(content)
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match=r"'skeleton_tokenizer.safetensors' leads out of the folder; do not use this export"):
        emotion_llm.load(folder)
    record = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
    (folder / EXPORT).write_text(json.dumps(record | {"sha256": {"../outside": "0"}}), encoding="utf-8")
    with pytest.raises(UserError, match=r"'../outside' leads out of the folder"):
        emotion_llm.load(folder)


def test_an_existing_folder_is_not_overwritten_and_an_export_not_exported(exports, description_run, tmp_path):
    with pytest.raises(UserError, match=r"exists already; name another folder"):
        export(find_run(description_run), ExportSettings(tmp_path, run=description_run))
    with pytest.raises(UserError, match=r"is an exported folder already; copy it"):
        export(find_run(exports[True]), ExportSettings(tmp_path / "again", run=exports[True]))


@pytest.fixture
def engine(exports):
    """A completions API as vLLM's: it sees nothing but the request, and the merged LLM's folder."""
    import base64
    import io

    llm = AutoModelForCausalLM.from_pretrained(exports[True] / "llm", dtype=torch.float32)
    text_tokenizer = AutoTokenizer.from_pretrained(exports[True] / "llm")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/completions" or "prompt_embeds" not in body:
                self.send_error(400, "no prompt_embeds")
                return
            embeddings = torch.load(io.BytesIO(base64.b64decode(body["prompt_embeds"])), weights_only=True)
            new = llm.generate(inputs_embeds=embeddings[None], max_new_tokens=body["max_tokens"], do_sample=False)
            text = text_tokenizer.decode(new[0], skip_special_tokens=True)
            answer = json.dumps({"choices": [{"text": text}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", llm, text_tokenizer
    server.shutdown()
    server.server_close()


def test_an_engine_gets_the_embeddings_that_transformers_would(exports, clip, engine):
    url, llm, text_tokenizer = engine
    model = emotion_llm.load(exports[True])
    embeddings = prompt_embeddings(model, model.open(clip), "joy")
    with torch.no_grad():
        new = llm.generate(inputs_embeds=embeddings[None], max_new_tokens=12, do_sample=False)
    expected = text_tokenizer.decode(new[0], skip_special_tokens=True).strip()
    assert expected
    assert ask_engine(url, "exported/llm", embeddings, max_new_tokens=12) == expected


def test_an_engine_that_does_not_answer_is_named(engine):
    url = engine[0]
    with pytest.raises(UserError, match=r"refuses the request \(404|refuses the request \(400"):
        ask_engine(url + "/other", "x", torch.zeros(1, 2))
    with pytest.raises(UserError, match=r"http://127.0.0.1:1/v1: no answer \(.*\); does an engine listen there\?"):
        ask_engine("http://127.0.0.1:1/v1", "x", torch.zeros(1, 2))
