"""The arguments and values that the description of a model may hold: those that shape a network.

A description (model.json, the metadata of weights, timm's config.json, the command line in a timm
checkpoint) may come from other people. It can shape the network that is built. It cannot download
weights, read files, choose a device or load code, and its numbers are bounded.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from soup import limits
from soup.errors import near, some


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The arguments of timm's classifiers that shape a network. Not on the list are other arguments of
# `create_model`: those that download or read files (pretrained, pretrained_cfg, checkpoint_path,
# cache_dir), make another kind of model (features_only, out_indices, scriptable), place tensors
# (device, dtype), or are Python classes (block, embed_layer), which text cannot express.
TIMM = _words("""
    aa_layer aa_stem_only abs_win_pos_embed act_kwargs act_layer always_partition attn
    attn_act_layer attn_drop_rate attn_groups attn_head_dim_reduction attn_layer attn_mlp
    attn_mlp_ratio attn_only_layer_scale attn_pool_mlp_ratio attn_pool_num_heads attn_ratio
    attn_stage attn_type attn_types attn_upsample aux_logits avg_down b base_dim base_dims
    base_width bidirectional block_args block_cfg block_config block_reduce_first block_type
    bn_eps bn_momentum bn_size bn_tf bottle_ratio bottleneck_width_ratio cardinality ch_div
    channel_attention channel_attn_v2 channel_multiplier channels class_token cls_attn_layers
    cls_ratio conv_bias conv_init conv_layer conv_mlp conv_ratio cpe_act crop_scale crpe_window
    d2_scales deepen_factor depth depth_list depth_mult depth_token_only depths dim dim_mul dims
    distillation distilled down_kernel_size down_op down_ops down_pad down_patch_size
    down_stride downsample downsample_block downsample_expand_ratios downsample_kernel_size
    downsample_norm downsample_padding downsample_ratio downsamples drop_block_rate
    drop_block_size drop_path_rate drop_rate dw_act_layer dynamic_img_pad dynamic_img_size
    embed_dim embed_dims embed_norm embed_norm_layer eta expand_groups expand_ratio
    expansion_ratio extra_norm_period extra_norm_stage fc_act_layer fc_norm feature_dim ffn
    ffn_ratio final_chs final_norm first_stride fix_init fix_stem focal_levels focal_windows
    fused_conv fused_downsample global_att_blocks global_attn_indexes global_block_counts
    global_pool global_pos_size group groups growth_rate growth_rates head head_bias head_dim
    head_hidden_size head_init_scale head_mul head_norm head_norm_first head_widths heads
    hidden_sizes img_scale img_size in_chans inc_sec inference_mode init_channels init_values
    initial_chs inner_dim inplanes input_3x3 intermediate_size is_downsample_block k_r k_sec
    kernel_size kernel_sizes kernels key_dim layer_scale layer_scale_init_value
    layer_scale_init_values layers layerscale_value legacy levels linear lkc_use_act
    local_conv_size local_mbconv_norm local_up_to_layer locality_strength ls_init_value
    mask_unit_attn mask_unit_size mbconv_expand_ratio merge_size mix_block_ratio mlp_act
    mlp_bias mlp_layer mlp_ratio mlp_ratio_token_only mlp_ratios msfa_indices
    msfa_output_resolution multi_conv n_div named_blocks neck_chans nlhb no_embed_class norm_eps
    norm_kwargs norm_layer norm_layer_cl norm_layers normalize_modulator num_blocks
    num_blocks_list num_classes num_features num_heads num_heads_inner num_heads_outer
    num_init_features num_kv_heads num_levels num_reg_tokens num_rnn_layers num_vit out_features
    outlook_attention output_norm output_stride pad_type parallel_depth partial_dim
    patch_drop_rate patch_kernel patch_norm patch_padding patch_size patch_sizes patch_stride
    pconv_fw_type pool_include_prefix pool_size pooling_kernel_size pooling_scale pos_drop_rate
    pos_embed pos_embed_grid_size pos_embs position_embedding_size post_layers pre_norm preact
    pretrained_window_sizes proj_bias proj_drop_rate q_pool q_stride qk_dim qk_norm qkv_bias
    qkv_fused rd_ratio reduction ref_feat_shape reg_tokens rel_pos_dim rel_pos_type reparam
    replace_stem_pool repmixer_kernel_size res_scale_init_values rope_grid_indexing
    rope_grid_offset rope_jitter_coords rope_mrope_section rope_rescale_coords rope_rotate_half
    rope_shift_coords rope_temperature rope_theta rope_type scale scale_attn_inner
    scale_attn_norm scale_mlp scale_mlp_norm se_downsamples se_layer se_ratio sep_pos_embed
    sequential_attn serial_depths shared_rel_pos shortcut_root small small_kernels spatial_conv
    sr_ratios ssd_expand stages standardize state_dim stem_bias stem_chs stem_expand_ratio
    stem_hidden_dim stem_kernel_size stem_mid_norm stem_norm stem_size stem_stride stem_type
    stem_use_scale_branch stem_width strict_img_size stride strides swiglu_align_to swiglu_mlp
    token_mixers tokens_norm transformer_depths transformer_drop_path
    transition_compression_ratio types use_abs_pos use_abs_pos_emb use_aux_head
    use_clipped_linears use_conv use_expand_proj use_fc_norm use_grn use_lab use_layer_scale
    use_mix_token use_mlp_head use_msfa use_overlap_down use_pos_emb use_pos_embed use_post_norm
    use_post_norm_in_modulation use_post_transformer_norm use_pre_transformer_norm use_rel_pos
    use_rel_pos_bias use_rope use_rot_pos_emb use_shared_rel_pos_bias v2 version vit_stem
    weight_init widen_factor width width_factor width_list width_mult widths window_ratio
    window_size window_sizes window_spec with_fc wss zero_init_last
""")
# The parts of an open_clip config that shape an image tower. Not on the lists: text towers, whose
# tokenizers and configurations come from the Hugging Face hub.
CLIP_CONFIG = frozenset({"embed_dim", "quick_gelu", "vision_cfg", "input_size"})
CLIP_VISION = _words("""
    act_kwargs attentional_pool attn_pooler_heads attn_pooler_queries block_type
    final_ln_after_pool head_width image_size layers ls_init_value mlp_ratio no_ln_pre
    norm_kwargs output_tokens patch_dropout patch_size pool_type pos_embed_type qk_norm
    scale_attn scale_attn_inner scale_fc scale_heads scaled_cosine_attn timm_drop timm_drop_path
    timm_model_name timm_model_pretrained timm_pool timm_proj timm_proj_bias width
""")
CLIP = CLIP_CONFIG - {"input_size"} | {
    "force_image_size",
    "force_patch_dropout",
    "force_quick_gelu",
}
# Arguments of timm that choose pretrained weights and their cache. A user may give them with
# `base.weights: pretrained`; a description may not hold them.
OF_PRETRAINED = frozenset({"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"})
NESTED = frozenset({"eps", "approximate", "inplace", "affine", "num_groups", "momentum"})
SIDES = re.compile(r"(img|image|input|patch|window|mask_unit)_sizes?$")
DEPTHS = frozenset({"depth", "depths", "depth_list", "layers", "num_blocks", "num_rnn_layers"})
# Names of layers, poolings and so on; addresses and paths do not match.
WORD = re.compile(r"[\w.+-]*")
PLACE = "soup/models/arguments.py lists what a description may hold"


def unfit(library: str, kwargs: Mapping[str, Any]) -> str:
    """Why a description may not hold these arguments of a model; '' if it may.

    Args:
        library: 'timm' or 'open_clip'.
        kwargs: arguments of the library's create_model.
    """
    return _told(_unfit(kwargs, TIMM if library == "timm" else CLIP, "kwargs"))


def unfit_config(config: Mapping[str, Any]) -> str:
    """Why a description may not hold this configuration of a CLIP image tower; '' if it may."""
    lacking = {"embed_dim", "vision_cfg"} - config.keys()
    if lacking:
        return f"config lacks {', '.join(sorted(lacking))}"
    return _told(_unfit(config, CLIP_CONFIG, "config"))


def shaping(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The user's arguments of timm without those that only choose pretrained weights."""
    return {name: value for name, value in kwargs.items() if name not in OF_PRETRAINED}


def is_word(name: str) -> bool:
    """Whether a name can be in a library's registry, which an address or a path cannot."""
    return bool(name) and len(name) <= limits.TEXT and WORD.fullmatch(name) is not None


def _told(problems: Iterator[str]) -> str:
    found = [*problems]
    return f"{some(found, 5)}; {PLACE}" if found else ""


def _unfit(values: Mapping[str, Any], allowed: frozenset[str], where: str) -> Iterator[str]:
    for name, value in values.items():
        place = f"{where}.{str(name)[:50]}"
        if name not in allowed:
            yield f"{place} is no argument that shapes a network{near(str(name)[:50], allowed)}"
        elif name == "vision_cfg":
            if isinstance(value, Mapping):
                yield from _unfit(value, CLIP_VISION, place)
            else:
                yield f"{place} is no table"
        elif name == "timm_model_pretrained" and value:
            yield f"{place} asks for pretrained weights"
        elif isinstance(value, Mapping):
            yield from _unfit(value, allowed | NESTED, place)
        elif reason := wrong_value(name, value):
            yield f"{place} {reason}"


def wrong_value(name: str, value: Any) -> str:
    """Why a value is not allowed for an argument; '' if it is allowed."""
    count, pending = 0, [(value, 0)]
    most = limits.WIDTH
    if SIDES.search(name):
        most = limits.IMAGE_SIDE
    elif name in DEPTHS:
        most = limits.DEPTH
    while pending:
        item, depth = pending.pop()
        count += 1
        if count > limits.ITEMS or depth > 4:
            return f"has more than {limits.ITEMS} values, or lists in lists in lists"
        if isinstance(item, list | tuple):
            pending += [(inner, depth + 1) for inner in item[: limits.ITEMS + 1]]
        elif isinstance(item, str):
            if not WORD.fullmatch(item) or len(item) > limits.TEXT:
                return f"is {item[:60]!r}, which is no word"
        elif isinstance(item, int | float):
            if isinstance(item, float) and not math.isfinite(item):
                return f"is {item}"
            if abs(item) > most:
                return f"has a number beyond {most}"
        elif item is not None:
            return f"is a {type(item).__name__}, not a number, a word or a list of them"
    return ""
