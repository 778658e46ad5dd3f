"""One run of llama.cpp, or of ik_llama.cpp, through its Python module: prints JSON.

speed: a prompt in one batch with the logits of its last token, then single tokens, timed around
llama_decode; the same once before, not counted.
greedy: what follows a prompt, and how far each token lay before the second best.
nll: mean negative log-likelihood of the tokens behind the first, fed in one batch.
"""

import argparse
import ctypes
import importlib
import json
import math
import sys
import time

import numpy as np


class Session:
    """A model and a context; hides what the two programs and their versions name differently."""

    def __init__(self, module, path, options):
        api = self.api = importlib.import_module(module)
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.n_gpu_layers = 0
        if options.repack:
            params.repack_tensors, params.use_mmap = True, False
        self.model = api.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            sys.exit(f"{path}: does not load")
        self.context = self.make_context(options)
        if not self.context:
            sys.exit(f"{path}: no context")
        self.vocab_size = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))

    def make_context(self, options):
        params = self.api.llama_context_default_params()
        params.n_ctx = -(-options.context // 256) * 256
        params.n_batch = max(options.context, params.n_ubatch)
        params.n_threads = params.n_threads_batch = options.threads
        return self.api.llama_init_from_model(self.model, params)

    def clear(self):
        if hasattr(self.api, "llama_memory_clear"):
            self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        else:
            self.api.llama_kv_cache_clear(self.context)

    def batch(self, ids, position, all_logits=False):
        """Tokens at the positions from `position` on; logits of the last, or of all."""
        batch = self.api.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, position + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = all_logits or i + 1 == len(ids)
        return batch

    def feed(self, batch):
        if self.api.llama_decode(self.context, batch) != 0:
            sys.exit("llama_decode failed")

    def finish(self):
        if hasattr(self.api, "llama_synchronize"):
            self.api.llama_synchronize(self.context)

    def logits(self, index):
        """Of the token at this place in the last batch."""
        row = self.api.llama_get_logits_ith(self.context, index)
        pointer = ctypes.cast(row, ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, (self.vocab_size,)).astype(np.float64)


def timed(session, batches):
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        session.feed(batch)
    session.finish()
    return {"tokens": sum(batch.n_tokens for batch in batches),
            "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def speed(session, ids, prompt):
    prefill = [session.batch(ids[:prompt], 0)]
    decode = [session.batch([ids[i]], i) for i in range(prompt, len(ids))]
    for _ in range(2):  # the first is the warm-up
        session.clear()
        result = {"prefill": timed(session, prefill), "decode": timed(session, decode)}
    return result


def greedy(session, ids, count):
    tokens, margins, batch = [], [], session.batch(ids, 0)
    for i in range(count):
        session.feed(batch)
        logits = session.logits(batch.n_tokens - 1)
        second, best = np.argsort(logits)[-2:]
        tokens.append(int(best))
        margins.append(float((logits[best] - logits[second]) / logits.std()))
        batch = session.batch([int(best)], len(ids) + i)
    return {"tokens": tokens, "margins": margins}


def nll(session, ids):
    session.feed(session.batch(ids[:-1], 0, all_logits=True))
    total = 0.0
    for i, following in enumerate(ids[1:]):
        logits = session.logits(i)
        highest = logits.max()
        total += highest + math.log(np.exp(logits - highest).sum()) - logits[following]
    return {"nll": total / (len(ids) - 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["speed", "greedy", "nll"])
    parser.add_argument("model")
    parser.add_argument("ids", help="token ids, little-endian 16 bits each")
    parser.add_argument("--prompt", type=int, default=512, help="of the ids, the prompt")
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--module", default="llama_cpp")
    parser.add_argument("--repack", action="store_true", help="repack weights (ik_llama.cpp)")
    options = parser.parse_args()
    options.context = options.prompt + options.decode
    session = Session(options.module, options.model, options)
    ids = np.fromfile(options.ids, "<u2").tolist()
    if options.task == "speed":
        result = speed(session, ids[:options.context], options.prompt)
    elif options.task == "greedy":
        result = greedy(session, ids[:options.prompt], options.decode)
    else:
        result = nll(session, ids[:options.prompt])
    print(json.dumps(result), flush=True)


main()
