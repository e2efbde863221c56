import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from emotion_llm.pretraining.text_alignment import PROMPTS, RANDOM_CLIP, TextAlignment, embed_emotions
from emotion_llm.runtime.errors import UserError

EMOTIONS = ("anger", "panic fear", "joy")


@pytest.fixture
def text_tokenizer():
    words = sorted({word for emotion in EMOTIONS for prompt in PROMPTS for word in prompt.format(emotion=emotion).split()})
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate([*words, "<end>"])}, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")


def test_the_random_text_encoder_gives_the_same_distinct_anchors_in_every_run():
    torch.manual_seed(1)
    one = embed_emotions(RANDOM_CLIP, EMOTIONS)
    torch.manual_seed(2)
    other = embed_emotions(RANDOM_CLIP, EMOTIONS)
    assert torch.equal(one, other)
    assert torch.allclose(one.norm(dim=1), torch.ones(3))
    assert ((one @ one.T)[~torch.eye(3, dtype=torch.bool)] < 0.999).all()


def test_a_causal_lm_stands_in_for_clip_by_the_mean_of_its_last_hidden_states(tmp_path, text_tokenizer):
    config = LlamaConfig(
        vocab_size=len(text_tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2,
    )  # fmt: skip
    llm = LlamaForCausalLM(config).eval()
    llm.save_pretrained(tmp_path)
    text_tokenizer.save_pretrained(tmp_path)
    embeddings = embed_emotions(str(tmp_path), EMOTIONS)
    with torch.no_grad():
        ids = [text_tokenizer(prompt.format(emotion="panic fear"), return_tensors="pt").input_ids for prompt in PROMPTS]
        means = [llm.model(input_ids=row).last_hidden_state[0].mean(0) for row in ids]
    expected = torch.nn.functional.normalize(torch.stack([mean / mean.norm() for mean in means]).mean(0), dim=0)
    assert torch.allclose(embeddings[1], expected, atol=1e-5)


def test_a_clip_folder_gives_its_own_text_embeddings(tmp_path, text_tokenizer):
    end = text_tokenizer.eos_token_id
    config = CLIPTextConfig(
        vocab_size=len(text_tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, projection_dim=12,
        bos_token_id=end, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    CLIPTextModelWithProjection(config).save_pretrained(tmp_path)
    text_tokenizer.save_pretrained(tmp_path)
    assert embed_emotions(str(tmp_path), EMOTIONS).shape == (3, 12)


def test_a_text_encoder_that_is_not_there_is_refused_with_the_ways_out(tmp_path, text_tokenizer):
    with pytest.raises(UserError, match=r"no Hugging Face model in this folder \(config.json is missing\)"):
        embed_emotions(str(tmp_path), EMOTIONS)
    with pytest.raises(UserError, match=r"no-such/model: cannot be loaded .* choose --text-encoder random-clip or --contrastive-weight 0"):
        embed_emotions("no-such/model", EMOTIONS)
    LlamaConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path)
    text_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        embed_emotions(str(tmp_path), EMOTIONS)


def test_movements_of_one_emotion_are_never_each_others_negatives():
    alignment = TextAlignment(4, torch.nn.functional.normalize(torch.randn(3, 5), dim=1), temperature=0.1)
    semantic, candidates, emotion = torch.randn(2, 4), torch.ones(2, 3, dtype=torch.bool), torch.tensor([1, 1])
    together = torch.nn.functional.cross_entropy(alignment(semantic, candidates), emotion, reduction="none")
    alone = [torch.nn.functional.cross_entropy(alignment(semantic[n : n + 1], candidates[:1]), emotion[:1]) for n in range(2)]
    assert torch.allclose(together, torch.stack(alone))


def test_the_text_embeddings_do_not_train():
    alignment = TextAlignment(4, torch.randn(3, 5), temperature=0.1)
    assert [name for name, _ in alignment.named_parameters()] == ["project.weight", "project.bias"]


@pytest.mark.parametrize("known_type", [True, False])
def test_code_that_comes_with_a_text_encoder_is_never_executed(tmp_path, text_tokenizer, monkeypatch, known_type):
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks, and is told to go ahead
    folder, proof = tmp_path / "model", tmp_path / "proof"
    text_tokenizer.save_pretrained(folder)
    LlamaForCausalLM(
        LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    ).save_pretrained(folder)
    (folder / "evil.py").write_text(f"open({str(proof)!r}, 'w')\nfrom transformers import LlamaConfig as Evil, LlamaModel as EvilModel\n")
    for name, changes in (
        (
            "config.json",
            {"auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.EvilModel"}} | ({} if known_type else {"model_type": "evil"}),
        ),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}),
    ):
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changes))
    if known_type:
        assert embed_emotions(str(folder), EMOTIONS).shape == (3, 16)
    else:
        with pytest.raises(UserError, match="cannot be loaded"):
            embed_emotions(str(folder), EMOTIONS)
    assert not proof.exists()
