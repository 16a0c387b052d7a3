"""The families of models that are tried, each with the settings of a tiny model."""

from typing import Any

from bench.families.models import NUM_ROWS, WINDOW, Family

_TOKENS: dict[str, Any] = {"vocab_size": NUM_ROWS, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_SHAPE = _TOKENS | {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
_ALIKE = {name: value for name, value in _SHAPE.items() if name not in ("num_key_value_heads", "head_dim")}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_GPT = _TOKENS | {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 256, "n_inner": 64}
_SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_TIED = {"tie_word_embeddings": True}
_SHARED_LAYERS = {
    "num_hidden_layers": 4,
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
    "vocab_size_per_layer_input": NUM_ROWS,
    "hidden_size_per_layer_input": 8,
}
_ROPE_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_ROPE_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
_ROPE_LONG = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 16,
    "long_factor": [4.0] * 16,
    "original_max_position_embeddings": 128,
}
_MLA = {
    "kv_lora_rank": 32,
    "q_lora_rank": 32,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "v_head_dim": 32,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 2,
}


FAMILIES = [
    Family("Llama 2", "llama", _SHAPE),
    Family("Llama 3 (rope scaling)", "llama", _SHAPE | {"rope_parameters": _ROPE_LLAMA3}),
    Family("Llama 3.2 (tied head)", "llama", _SHAPE | _TIED | {"rope_parameters": _ROPE_LLAMA3}),
    Family(
        "Llama 4 (text)",
        "llama4_text",
        _SHAPE | {"num_local_experts": 4, "intermediate_size_mlp": 64, "attention_chunk_size": WINDOW},
    ),
    Family("Mistral (sliding window)", "mistral", _SHAPE | {"sliding_window": WINDOW}),
    Family("Ministral (half sliding)", "ministral", _SHAPE | _SLIDING),
    Family(
        "Ministral 3", "ministral3", _SHAPE | {"rope_parameters": _ROPE_YARN | {"llama_4_scaling_beta": 0.1}}
    ),
    Family("Mixtral", "mixtral", _SHAPE | {"num_local_experts": 4}),
    Family("Qwen2, Qwen2.5", "qwen2", _SHAPE),
    Family("Qwen2 (half sliding)", "qwen2", _SHAPE | _SLIDING | {"use_sliding_window": True}),
    Family("Qwen2-MoE", "qwen2_moe", _SHAPE | _EXPERTS | {"shared_expert_intermediate_size": 32}),
    Family("Qwen3", "qwen3", _SHAPE | _TIED),
    Family("Qwen3-MoE", "qwen3_moe", _SHAPE | _EXPERTS),
    Family("Gemma", "gemma", _SHAPE | _TIED),
    Family(
        "Gemma 2 (soft-capped)",
        "gemma2",
        _SHAPE
        | _TIED
        | _SLIDING
        | {"query_pre_attn_scalar": 32, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},
    ),
    Family("Gemma 3 (text)", "gemma3_text", _SHAPE | _TIED | _SLIDING | {"query_pre_attn_scalar": 32}),
    Family(
        "Gemma 3n (text)",
        "gemma3n_text",
        _SHAPE
        | _TIED
        | _SHARED_LAYERS
        | {
            "laurel_rank": 4,
            "intermediate_size": [64] * 4,
            "activation_sparsity_pattern": [0.0] * 4,
        },
    ),
    Family(
        "Gemma 4 (text)",
        "gemma4_text",
        _SHAPE
        | _TIED
        | _SHARED_LAYERS
        | {
            "global_head_dim": 64,
        },
    ),
    Family("Phi-1, Phi-2", "phi", _ALIKE),
    Family("Phi-3, Phi-4", "phi3", _SHAPE),
    Family(
        "Phi-3 (128k, longrope)",
        "phi3",
        _SHAPE
        | {"rope_parameters": _ROPE_LONG, "original_max_position_embeddings": 128, "sliding_window": 64},
    ),
    Family(
        "Phi-3.5-MoE", "phimoe", _SHAPE | {"num_local_experts": 4}, without_gradient=("mlp.router.weight",)
    ),
    Family("OLMo", "olmo", _ALIKE),
    Family("OLMo 2", "olmo2", _ALIKE),
    Family("OLMo 3", "olmo3", _ALIKE | _SLIDING),
    Family("OLMoE", "olmoe", _ALIKE | {"num_experts": 4, "num_experts_per_tok": 2}),
    Family("SmolLM3", "smollm3", _SHAPE | {"no_rope_layers": [1, 0]}),
    Family(
        "Granite 3",
        "granite",
        _ALIKE
        | {
            "embedding_multiplier": 2.0,
            "logits_scaling": 3.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.2,
        },
    ),
    Family("Granite 3 MoE", "granitemoe", _ALIKE | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    Family("GPT-2", "gpt2", _GPT),
    Family("GPT-J", "gptj", _GPT | {"rotary_dim": 16}),
    Family(
        "GPT-Neo",
        "gpt_neo",
        _TOKENS
        | {
            "hidden_size": 64,
            "num_layers": 2,
            "num_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 256,
            "window_size": WINDOW,
            "attention_types": [[["global", "local"], 1]],
        },
    ),
    Family("GPT-NeoX, Pythia", "gpt_neox", _ALIKE),
    Family("GPT-BigCode, StarCoder", "gpt_bigcode", _GPT),
    Family("StarCoder2", "starcoder2", _ALIKE | {"num_key_value_heads": 1, "sliding_window": WINDOW}),
    Family("CodeGen", "codegen", _GPT | {"rotary_dim": 16, "n_head": 4}),
    Family(
        "GPT-OSS",
        "gpt_oss",
        _SHAPE | _SLIDING | {"num_local_experts": 4, "num_experts_per_tok": 2, "rope_parameters": _ROPE_YARN},
    ),
    Family(
        "Falcon", "falcon", _ALIKE | {"multi_query": True, "new_decoder_architecture": False, "alibi": False}
    ),
    Family("Falcon (alibi)", "falcon", _ALIKE | {"multi_query": False, "alibi": True}),
    Family("OPT", "opt", _ALIKE | {"ffn_dim": 64, "word_embed_proj_dim": 64}),
    Family("BLOOM", "bloom", _TOKENS | {"hidden_size": 64, "n_layer": 2, "n_head": 2, "seq_length": 256}),
    Family(
        "MPT",
        "mpt",
        _TOKENS | {"d_model": 64, "n_layers": 2, "n_heads": 2, "expansion_ratio": 1, "max_seq_len": 256},
    ),
    Family("StableLM", "stablelm", _ALIKE | {"num_key_value_heads": 1}),
    Family("Cohere, Command R", "cohere", _ALIKE | {"num_key_value_heads": 1, "logit_scale": 1.0}),
    Family(
        "Cohere 2, Command R7B", "cohere2", _ALIKE | _SLIDING | {"num_key_value_heads": 1, "logit_scale": 1.0}
    ),
    Family("DeepSeek-V2", "deepseek_v2", _ALIKE | _MLA),
    Family(
        "DeepSeek-V3",
        "deepseek_v3",
        _ALIKE | _MLA | {"n_group": 1, "topk_group": 1, "rope_parameters": _ROPE_YARN},
    ),
    Family("GLM-4", "glm4", _SHAPE),
    Family(
        "GLM-4.5",
        "glm4_moe",
        _SHAPE
        | {
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
        },
    ),
    Family("EXAONE 4", "exaone4", _SHAPE | _SLIDING),
    Family("ERNIE 4.5", "ernie4_5", _SHAPE),
    Family("Seed-OSS", "seed_oss", _SHAPE),
    Family("Hunyuan", "hunyuan_v1_dense", _SHAPE),
    Family("Apertus", "apertus", _SHAPE | {"rope_parameters": _ROPE_LLAMA3}),
    Family("Nemotron", "nemotron", _SHAPE),
    Family("Helium", "helium", _SHAPE),
    Family("MiniCPM3", "minicpm3", _ALIKE | {k: v for k, v in _MLA.items() if "lora" in k or "head" in k}),
    Family(
        "XGLM",
        "xglm",
        _TOKENS
        | {
            "d_model": 64,
            "num_layers": 2,
            "attention_heads": 2,
            "ffn_dim": 64,
            "max_position_embeddings": 256,
        },
    ),
    Family("BioGPT", "biogpt", _ALIKE),
    # Models that cannot be had, on one engine or on both.
    Family("Mamba", "mamba", _TOKENS | {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}),
    Family(
        "Mamba 2",
        "mamba2",
        _TOKENS
        | {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "state_size": 8,
            "num_heads": 4,
            "head_dim": 32,
            "n_groups": 1,
            "chunk_size": 16,
        },
    ),
    Family(
        "RWKV",
        "rwkv",
        _TOKENS
        | {"hidden_size": 64, "num_hidden_layers": 2, "attention_hidden_size": 64, "intermediate_size": 64},
    ),
    Family("LFM2", "lfm2", _SHAPE | {"layer_types": ["conv", "full_attention"]}),
    Family(
        "Jamba",
        "jamba",
        _ALIKE
        | {
            "num_key_value_heads": 1,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 2,
            "mamba_d_state": 8,
            "use_mamba_kernels": False,
        },
    ),
    Family(
        "Qwen3-Next",
        "qwen3_next",
        _SHAPE
        | _EXPERTS
        | {
            "layer_types": ["linear_attention", "full_attention"],
            "shared_expert_intermediate_size": 32,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 32,
            "linear_value_head_dim": 32,
        },
    ),
    Family(
        "Qwen3.5 (text)",
        "qwen3_5_text",
        _SHAPE
        | {
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 32,
            "linear_value_head_dim": 32,
        },
    ),
    Family(
        "Granite 4 (hybrid)",
        "granitemoehybrid",
        _ALIKE
        | {
            "num_key_value_heads": 1,
            "layer_types": ["mamba", "attention"],
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "shared_intermediate_size": 64,
            "mamba_n_heads": 4,
            "mamba_d_head": 32,
            "mamba_d_state": 8,
            "mamba_expand": 2,
            "position_embedding_type": "rope",
        },
    ),
    Family(
        "Falcon-H1",
        "falcon_h1",
        _SHAPE | {"mamba_d_ssm": 64, "mamba_n_heads": 2, "mamba_d_head": 32, "mamba_d_state": 8},
    ),
    Family(
        "RecurrentGemma",
        "recurrent_gemma",
        _ALIKE | {"num_hidden_layers": 3, "lru_width": 64, "attention_window_size": WINDOW},
    ),
    Family("GPT", "openai-gpt", _TOKENS | {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 256}),
    Family(
        "T5",
        "t5",
        _TOKENS | {"d_model": 64, "d_kv": 32, "d_ff": 64, "num_layers": 2, "num_heads": 2},
        "T5ForConditionalGeneration",
    ),
    Family(
        "BART",
        "bart",
        _TOKENS
        | {
            "d_model": 64,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
        },
        "BartForConditionalGeneration",
    ),
    Family("BERT", "bert", _ALIKE, "BertForMaskedLM"),
    Family("RoBERTa (as a decoder)", "roberta", _ALIKE | {"is_decoder": True}),
    Family("A classifier", "qwen2", _SHAPE | _TIED, "Qwen2ForSequenceClassification"),
    Family("A model without a head", "qwen3", _SHAPE | _TIED, "Qwen3Model"),
]
