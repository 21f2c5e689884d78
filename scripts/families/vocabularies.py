"""A tokenizer of the kind that each family brings, trained on the made-up text: name -> (tokenizer, its tokenizer_config).

`tokenizer_class` is what the published folders say, where transformers 5 reads tokenizer.json alike under that name.
"""

import json

from make_golden_tokenizer import (L3, META_DECODER, META_NORMALIZER, Q2, TEKKEN, added, bos, byte_level, pieces, spec,
                                   template, three, train)
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors

SIZE = 900


def finish(tok, post=None):
    tok.post_processor = post or processors.ByteLevel(trim_offsets=False)
    tok.decoder = decoders.ByteLevel()
    return tok


def by_expression(expression, text, specials=(), normalizer=None):
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"), byte_level(use_regex=False)])
    return train(SIZE, pre, specials, normalizer, texts=text)


def gpt2(text):
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return finish(train(SIZE, byte_level(), ["<|endoftext|>"], texts=text)), {"tokenizer_class": "GPT2Tokenizer", **names}


def neox(text):
    tok = train(SIZE, byte_level(), ["<|endoftext|>", "<|padding|>"], normalizers.NFC(), texts=text)
    tok.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return finish(tok), {"tokenizer_class": "GPTNeoXTokenizer", **names}


def opt(text):
    """Every row begins with </s>."""
    tok = train(SIZE, byte_level(), ["<s>", "<pad>", "</s>", "<unk>"], texts=text)
    names = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>", "add_bos_token": True}
    return finish(tok, bos("</s>", tok)), {"tokenizer_class": "GPT2Tokenizer", **names}


def llama3(text):
    tok = by_expression(L3, text)
    tok.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    finish(tok, processors.Sequence([processors.ByteLevel(trim_offsets=True), bos("<|begin_of_text|>", tok)]))
    whole = json.loads(tok.to_str())
    whole["model"]["ignore_merges"] = True
    names = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    return Tokenizer.from_str(json.dumps(whole)), {"tokenizer_class": "PreTrainedTokenizerFast", **names}


def smollm2(text):
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
    tok = train(SIZE, pre, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], texts=text)
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return finish(tok), {"tokenizer_class": "GPT2Tokenizer", **names}


def qwen(text):
    tok = by_expression(Q2, text, (), normalizers.NFC())
    tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tok.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False)])
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None, "add_bos_token": False}
    return finish(tok), {"tokenizer_class": "Qwen2Tokenizer", **names}


def tekken(text):
    tok = by_expression(TEKKEN, text, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"])
    finish(tok, bos("<s>", tok))
    whole = json.loads(tok.to_str())
    whole["model"]["ignore_merges"] = True
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return Tokenizer.from_str(json.dumps(whole)), {"tokenizer_class": "PreTrainedTokenizerFast", **names}


META_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False}


def llama2(text):
    """▁ through Prepend and Replace, characters that have no token as bytes."""
    tok = spec(pieces(SIZE + 160, texts=text), three(), META_NORMALIZER, None, template("<s>", "A", ids={"<s>": 1}), META_DECODER)
    return tok, {"tokenizer_class": "LlamaTokenizer", **META_NAMES}


def mistral(text):
    """▁ through Metaspace."""
    pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    tok = spec(pieces(SIZE + 160, texts=text), three(), None, pre, template("<s>", "A", ids={"<s>": 1}), META_DECODER)
    return tok, {"tokenizer_class": "LlamaTokenizer", **META_NAMES}


def phi3(text):
    model = pieces(SIZE + 160, texts=text)
    n, names = len(model["vocab"]), ["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"]
    tokens = three()[:2] + [added(2, "</s>", rstrip=True, special=False)]
    tokens += [added(n + i, name, rstrip=i > 0) for i, name in enumerate(names)]
    tok = spec(model, tokens, META_NORMALIZER, None, template("<s>", "A", ids={"<s>": 1}), META_DECODER)
    return tok, {"tokenizer_class": "LlamaTokenizer", **META_NAMES, "eos_token": "<|endoftext|>"}


KINDS = {f.__name__: f for f in (gpt2, neox, opt, llama3, smollm2, qwen, tekken, llama2, mistral, phi3)}
