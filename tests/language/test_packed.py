"""The packed row gives the answers and gradients of separate, padded sequences."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from emotion_llm.language.llm import LoraSettings, add_adapter, load_llm, load_text_tokenizer
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import PACKED_ATTENTION, Example, pack, packed_attention
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import MotionFeatures, Slots
from tests.helpers.families import FAMILIES, write_small_llm

CHANNELS, SLOTS = 8, Slots(spatial=10, temporal=6)


def motion(joints: int, time_steps: int) -> MotionFeatures:
    return MotionFeatures(torch.randn(1 + joints + time_steps, CHANNELS), joints, time_steps)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda name: name.split(",")[0])
def setup(request, tmp_path_factory):
    folder = write_small_llm(tmp_path_factory.mktemp("llm"), request.param)
    llm = add_adapter(load_llm(str(folder), torch.float32), LoraSettings(rank=4, dropout=0.0))
    for name, parameter in llm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    prompts = PromptWriter(load_text_tokenizer(str(folder)))
    model = EmotionLLM(llm, SkeletonTokenizer(CHANNELS, 32, 1.0), SLOTS).eval()
    labels = tuple(prompts.answer(word) for word in ("anger", "panic fear", "surprise"))
    examples = [
        Example(prompts.recognition(), motion(3, 2), labels),
        Example(prompts.description("anger"), motion(10, 6), (prompts.answer("The steps are fast."),)),
        Example(prompts.recognition(), motion(7, 5), labels[:2]),
    ]
    return model, examples


@contextmanager
def own_attention_of_transformers(model: EmotionLLM) -> Iterator[None]:
    model.base_llm.set_attn_implementation("sdpa")
    yield
    model.base_llm.set_attn_implementation(PACKED_ATTENTION)


def padded_log_likelihood(model: EmotionLLM, example: Example, answer: tuple[int, ...]) -> torch.Tensor:
    """The reference: every slot of the unified form is there, empty ones masked; positions simply count on; transformers' own attention."""
    before, after, motion = example.prompt.before, example.prompt.after, example.motion
    first_slot, behind = len(before), len(before) + SLOTS.total
    token_ids = torch.zeros(behind + len(after) + len(answer), dtype=torch.long)
    token_ids[:first_slot] = torch.tensor(before)
    token_ids[behind:] = torch.tensor([*after, *answer])
    real = torch.ones(len(token_ids), dtype=torch.long)
    slots = first_slot + SLOTS.of_motion(motion.joints, motion.time_steps)
    real[first_slot:behind] = 0
    real[slots] = 1
    embeddings = model.embed(token_ids, slots, motion.rows, motion.granularities)
    with own_attention_of_transformers(model):
        logits = model.llm(inputs_embeds=embeddings[None], attention_mask=real[None], use_cache=False).logits[0].log_softmax(-1)
    first = len(token_ids) - len(answer) - 1
    return sum(logits[first + index, token] for index, token in enumerate(answer))


def test_padded_and_compact_form_give_the_same_likelihoods(setup):
    model, examples = setup
    packed = model.answer_log_likelihoods(pack(examples, SLOTS))
    padded = torch.stack([padded_log_likelihood(model, example, answer) for example in examples for answer in example.answers])
    torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-4)


def test_an_example_answers_the_same_alone_and_in_company(setup):
    model, examples = setup
    together = model.answer_log_likelihoods(pack(examples, SLOTS))
    alone = torch.cat(
        [
            model.answer_log_likelihoods(pack([Example(example.prompt, example.motion, (answer,))], SLOTS))
            for example in examples
            for answer in example.answers
        ]
    )
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_sharing_the_prefix_changes_neither_likelihoods_nor_gradients(setup):
    model, examples = setup
    gradients = []
    for share in (True, False):
        model.zero_grad()
        model(pack(examples, SLOTS, share_prefix=share)).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert sum("lora" in name for name in gradients[0]) > 10
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-4 * float(gradient.abs().max() + 1e-6))


def test_a_shared_prefix_is_in_the_row_once(setup):
    _, examples = setup
    prefix = len(examples[0].prompt.before)
    saved = len(pack(examples, SLOTS, share_prefix=False).token_ids) - len(pack(examples, SLOTS).token_ids)
    assert saved == prefix  # two of the three examples have the same prefix


def test_gradients_do_not_depend_on_the_division_into_micro_batches(setup):
    model, examples = setup
    model.zero_grad()
    model(pack(examples, SLOTS)).sum().backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for example in examples:
        model(pack([example], SLOTS)).sum().backward()
    for name, gradient in whole.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max() + 1e-6))


def test_skeleton_embeddings_stand_exactly_at_their_slots(setup):
    model, examples = setup
    row = pack(examples, SLOTS)
    embeddings = model.embed(row.token_ids, row.skeleton_rows, row.features, row.granularities)
    torch.testing.assert_close(embeddings[row.skeleton_rows], model.skeleton_tokenizer(row.features, row.granularities))
    text = torch.ones(len(row.token_ids), dtype=torch.bool)
    text[row.skeleton_rows] = False
    assert torch.equal(embeddings[text], model.llm.get_input_embeddings()(row.token_ids[text]))
    first = examples[1]  # the only example of its prompt: all 10 joints and 6 steps, so its slots are contiguous
    begin = len(first.prompt.before)
    own = row.skeleton_rows[6:23]
    assert row.position_ids[own].tolist() == list(range(begin, begin + SLOTS.total))


def test_only_answer_tokens_are_supervised(setup):
    _, examples = setup
    row = pack(examples, SLOTS)
    supervised = [row.answer_ids[row.answer_index == index].tolist() for index in range(row.answers)]
    assert supervised == [list(answer) for example in examples for answer in example.answers]


def test_generation_does_not_depend_on_the_company(setup):
    model, examples = setup
    together = model.generate(examples, max_new_tokens=8)
    assert together == [model.generate([example], max_new_tokens=8)[0] for example in examples]


def test_generation_says_the_likeliest_token_of_the_packed_form(setup):
    model, examples = setup
    first = model.generate(examples[:1], max_new_tokens=1)[0]
    vocabulary = model.llm.get_input_embeddings().weight.shape[0]
    every_token = tuple((token, 0) for token in range(vocabulary))
    row = pack([Example(examples[0].prompt, examples[0].motion, every_token)], SLOTS)
    likelihoods = model(row)[0::2]
    likeliest = int(likelihoods.argmax())
    assert first == ([] if likeliest == model.llm.config.eos_token_id else [likeliest])


def test_sampled_answers_come_from_the_prompt_and_the_seed_alone(setup):
    model, examples = setup
    first = model.sample(examples[0], 8, candidates=3, seed=5)
    state = torch.get_rng_state()
    model.sample(examples[1], 8, candidates=2, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.sample(examples[0], 8, candidates=3, seed=5) == first
    assert len({tuple(answer) for answer in [*first, *model.sample(examples[0], 8, candidates=3, seed=6)]}) > 1


def test_at_no_temperature_every_sample_is_the_greedy_answer(setup, monkeypatch):
    """So the keys and values that the samples share are those of the prompt."""
    model, examples = setup
    monkeypatch.setattr("emotion_llm.language.model.TEMPERATURE", 1e-5)
    for example in examples:
        assert model.sample(example, 8, candidates=3, seed=0) == model.generate([example], 8) * 3


def test_sixteen_generated_tokens_are_the_likeliest_of_the_packed_form(setup):
    """Teacher forcing: positions and masks are right after the first new token too, for prompts of different lengths in one batch."""
    model, examples = setup
    model.base_llm.generation_config.eos_token_id = None  # random weights would end early
    try:
        answers = model.generate(examples, max_new_tokens=16)
    finally:
        model.base_llm.generation_config.eos_token_id = model.llm.config.get_text_config().eos_token_id
    head = model.base_llm.get_output_embeddings()
    logits = []
    handle = head.register_forward_hook(lambda module, args, out: logits.append(out.detach()))
    said = [Example(example.prompt, example.motion, (tuple(answer),)) for example, answer in zip(examples, answers, strict=True)]
    model(pack(said, SLOTS))
    handle.remove()
    assert logits[0].argmax(-1).tolist() == [token for answer in answers for token in answer]
    assert all(len(answer) == 16 for answer in answers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"softcap": 50.0}, r"--llm: its attention caps its scores at 50, as Gemma 2's does; this is not supported, choose another LLM"),
        (
            {"sliding_window": 8},
            r"--llm: its attention sees 8 tokens back, and a motion with its question and answer has \d+; choose another",
        ),
        ({"packed_row": None}, r"--llm: Identity of this architecture does not receive the packed row, so answers would see each other"),
    ],
)
def test_unsupported_attention_is_refused(setup, change, message):
    _, examples = setup
    row = pack(examples, SLOTS)
    heads = torch.randn(1, 4, len(row.token_ids), 8)
    with pytest.raises(UserError, match=message):
        packed_attention(torch.nn.Identity(), heads, heads[:, :2], heads[:, :2], None, **{"packed_row": row} | change)


def test_a_window_is_long_enough_exactly_from_the_longest_sequence_on(setup):
    _, examples = setup
    row = pack(examples, SLOTS)
    longest = max(group.key_rows.shape[1] for group in row.groups)
    heads = torch.randn(1, 4, len(row.token_ids), 8)
    packed_attention(torch.nn.Identity(), heads, heads, heads, None, packed_row=row, sliding_window=longest)
    with pytest.raises(UserError, match=f"sees {longest - 1} tokens back"):
        packed_attention(torch.nn.Identity(), heads, heads, heads, None, packed_row=row, sliding_window=longest - 1)


def test_gradient_checkpointing_changes_no_gradient(setup):
    model, examples = setup
    row = pack(examples, SLOTS)
    gradients = []
    for enabled in (False, True):
        model.zero_grad()
        if enabled:
            model.base_llm.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        model(row).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    model.eval()
    model.base_llm.gradient_checkpointing_disable()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max() + 1e-6))


def test_a_motion_larger_than_the_unified_form_is_refused(setup):
    _, examples = setup
    with pytest.raises(UserError, match=r"11 joints but there are 10 spatial slots; set --slots.spatial 11"):
        pack([Example(examples[0].prompt, motion(11, 2), examples[0].answers)], SLOTS)
    with pytest.raises(UserError, match=r"7 time steps but there are 6 temporal slots; set --slots.temporal 7"):
        pack([Example(examples[0].prompt, motion(3, 7), examples[0].answers)], SLOTS)
