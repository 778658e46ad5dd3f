"""One timed run of transformers on a GGUF whose weights are written out to fp32: prints JSON.

A prompt in one call with the logits of its last token, then single tokens; the same once before,
not counted.
"""

import argparse
import json
import pathlib
import time

import gguf
import numpy as np
import torch
import transformers


def timed(model, cache, ids):
    """Feeds the rows of `ids` one after the other."""
    wall, cpu = time.perf_counter(), time.process_time()
    for row in ids:
        model(input_ids=row[None], past_key_values=cache, use_cache=True, logits_to_keep=1)
    return {"tokens": ids.numel(), "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu}


def load(path):
    """transformers does not read the width of experts from a GGUF."""
    width = gguf.GGUFReader(path).fields.get("qwen3moe.expert_feed_forward_length")
    settings = {"moe_intermediate_size": int(width.contents())} if width else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, **settings).eval()
    if width:
        model.set_experts_implementation("grouped_mm")
    return model


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("ids", help="token ids, little-endian 16 bits each")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load(options.model)
    ids = torch.from_numpy(np.fromfile(options.ids, "<u2").astype(np.int64))
    end = options.prompt + options.decode
    for _ in range(2):  # the first is the warm-up
        cache = transformers.DynamicCache()
        result = {"prefill": timed(model, cache, ids[None, :options.prompt]),
                  "decode": timed(model, cache, ids[options.prompt:end, None])}
    print(json.dumps(result), flush=True)


main()
