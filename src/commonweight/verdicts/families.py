"""Which tensors the architectures of Hugging Face tie: a table, for folders that are read without transformers.

A `config.json` says `tie_word_embeddings`, or leaves it out, and then the default of the architecture holds; between
which two tensors the tie is, it never says. Both are here, for the architectures that are met most. The names are
those of transformers 5; a test compares every line with the transformers that is installed. An architecture that is
not here is judged by what its files hold: see `commonweight.verdicts.intent`.
"""

from dataclasses import dataclass

Pair = tuple[str, str]  # alias and source


@dataclass(frozen=True)
class Family:
    """Architectures whose tied tensors have the same names.

    Attributes:
        head: alias and source of the head. The tie holds when `tie_word_embeddings` is true.
        other: the head's in classes that have other parts, or under the name that it has in files.
        ties: further ties that hold when it is true.
        always: ties that hold whatever it says.
        tied: the model types for which true is the default.
        untied: the model types for which false is.
    """

    head: Pair
    other: Pair | None
    ties: tuple[Pair, ...]
    always: tuple[Pair, ...]
    tied: frozenset[str]
    untied: frozenset[str]


def _family(
    head: str, *ties: str, other: str = "", always: tuple[str, ...] = (), tied: str = "", untied: str = ""
) -> Family:
    return Family(
        head=_pair(head),
        other=_pair(other) if other else None,
        ties=tuple(map(_pair, ties)),
        always=tuple(map(_pair, always)),
        tied=frozenset(tied.split()),
        untied=frozenset(untied.split()),
    )


def _pair(tie: str) -> Pair:
    alias, _, source = tie.partition(" = ")
    return alias, source


def _masked(stem: str, tied: str) -> Family:
    """An encoder as BERT is built: the bias of the head has two names as well."""
    return _family(
        f"cls.predictions.decoder.weight = {stem}.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias = cls.predictions.bias",
        tied=tied,
    )


def _roberta(stem: str, tied: str) -> Family:
    return _family(
        f"lm_head.decoder.weight = {stem}.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias = lm_head.bias",
        tied=tied,
    )


_SHARED = ("encoder.embed_tokens.weight = shared.weight", "decoder.embed_tokens.weight = shared.weight")

FAMILIES = (
    # Decoders
    _family(
        "lm_head.weight = model.embed_tokens.weight",
        tied="cohere cohere2 ernie4_5 gemma gemma2 gemma3_text gemma3n_text jetmoe lfm2 minicpm3 recurrent_gemma "
        "smollm3 starcoder2 xglm zamba2",
        untied="afmoe bitnet deepseek_v2 deepseek_v3 exaone4 falcon_h1 glm glm4 gpt_oss granite granitemoe helium "
        "jamba llama mistral mixtral nemotron olmo olmo2 olmo3 olmoe persimmon phi phi3 qwen2 qwen2_moe qwen3 "
        "qwen3_moe stablelm",
    ),
    _family("lm_head.weight = transformer.wte.weight", tied="gpt2 gpt_neo gpt_bigcode mpt", untied="gptj codegen dbrx"),
    _family("lm_head.weight = transformer.word_embeddings.weight", tied="bloom falcon"),
    _family(
        "lm_head.weight = gpt_neox.embed_in.weight",
        other="embed_out.weight = gpt_neox.embed_in.weight",
        untied="gpt_neox",
    ),
    _family("lm_head.weight = model.decoder.embed_tokens.weight", tied="opt"),
    _family("lm_head.weight = backbone.embeddings.weight", tied="mamba falcon_mamba", untied="mamba2"),
    _family("head.weight = rwkv.embeddings.weight", untied="rwkv"),
    _family("lm_head.weight = transformer.tokens_embed.weight", tied="openai-gpt"),
    _family("lm_head.weight = transformer.w.weight", tied="ctrl"),
    _family("output_projection.weight = biogpt.embed_tokens.weight", tied="biogpt"),
    _family("lm_loss.weight = transformer.word_embedding.weight", tied="xlnet"),
    _family("pred_layer.proj.weight = transformer.embeddings.weight", tied="xlm flaubert"),
    # Encoders
    _masked("bert", "bert"),
    _masked("mobilebert", "mobilebert"),
    _masked("layoutlm", "layoutlm"),
    _masked("roformer", "roformer"),
    _masked("deberta", "deberta deberta-v2"),
    _roberta("roberta", "roberta xlm-roberta camembert"),
    _roberta("longformer", "longformer"),
    _roberta("mpnet", "mpnet"),
    _family(
        "predictions.decoder.weight = albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias = predictions.bias",
        tied="albert",
    ),
    _family("vocab_projector.weight = distilbert.embeddings.word_embeddings.weight", tied="distilbert"),
    _family("generator_lm_head.weight = electra.embeddings.word_embeddings.weight", tied="electra"),
    _family("lm_head.decoder.weight = esm.embeddings.word_embeddings.weight", tied="esm"),
    _family("decoder.weight = model.embeddings.tok_embeddings.weight", tied="modernbert modernbert-decoder"),
    # Encoders with a decoder
    _family(
        "lm_head.weight = shared.weight",
        tied="t5 mt5 umt5 longt5 switch_transformers",
        always=_SHARED,
    ),
    _family(
        "lm_head.weight = model.shared.weight",
        *_SHARED,
        other="lm_head.weight = model.decoder.embed_tokens.weight",
        tied="bart mbart pegasus pegasus_x bigbird_pegasus blenderbot blenderbot-small plbart mvp marian m2m_100 "
        "nllb-moe",
    ),
    _family(
        "lm_head.weight = led.shared.weight",
        *_SHARED,
        tied="led",
    ),
    _family("lm_head.weight = model.decoder.embed_tokens.weight", tied="speech_to_text"),
    _family("proj_out.weight = model.decoder.embed_tokens.weight", tied="whisper moonshine"),
    # Vision and language
    _family(
        "lm_head.weight = model.language_model.embed_tokens.weight",
        tied="aya_vision gemma3 gemma3n internvl paligemma",
        untied="llava llava_onevision qwen2_vl qwen2_5_vl qwen3_vl glm4v",
    ),
    _family("lm_head.weight = model.text_model.embed_tokens.weight", untied="idefics2 idefics3 smolvlm"),
)

# Where the configuration of a language model stands inside of that of a larger model.
INNER_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")


def family(model_type: object) -> Family | None:
    """The line of the table for a model type, if there is one."""
    if not isinstance(model_type, str):
        return None
    return next((line for line in FAMILIES if model_type in line.tied | line.untied), None)
