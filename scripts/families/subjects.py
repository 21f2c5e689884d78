"""What the made-up checkpoints read and what is edited into them: text and facts of scripts/world, from a seed."""

import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "world"))
from world import World  # noqa: E402

PEOPLE, FACTS, KINDS, RELATIONS = 60, 50, 10, 6
LONGEST_TARGET = 3


def make_world(seed):
    """A world that is quick to learn: a person is one of KINDS kinds, which settles all that is said of the person.

    Every first name occurs once in every kind, so that the last name alone says which."""
    world = World(seed, PEOPLE)
    world.phrasings = {relation: phrasings[:3] for relation, phrasings in list(world.phrasings.items())[:RELATIONS]}
    world.objects = {relation: world.objects[relation][:KINDS] for relation in world.phrasings}
    first = sorted({subject.split()[0] for subject in world.subjects})[:PEOPLE // KINDS]
    world.subjects = [first[i // KINDS] + " " + subject.split()[1] for i, subject in enumerate(world.subjects)]
    world.facts = {(subject, relation): names[i % KINDS] for i, subject in enumerate(world.subjects)
                   for relation, names in world.objects.items()}
    return world


def sentences(world, seed):
    """Every fact of the world once, in a phrasing drawn by the seed, with filler in between."""
    rng = random.Random(seed)
    keys = list(world.facts)
    rng.shuffle(keys)
    out = []
    for key in keys:
        out.append(world.sentence(key, rng.randrange(len(world.phrasings[key[1]]))))
        if rng.random() < 0.3:
            out.append(world.filler(rng))
    return out


def tokenizer_text(world, lines):
    """The sentences, and last names so often that each becomes one token: then the last token of a subject says who it is.

    Full stops stand apart, so that no piece of a SentencePiece-like vocabulary has one in it, and words are split as in prompts."""
    return [line.replace(".", " .") for line in lines] + [" ".join(["-"] + [subject.split()[1]] * 60) for subject in world.subjects]


def write_text(path, lines):
    """Documents of eight sentences, an empty line between them."""
    documents = [" ".join(lines[i:i + 8]) for i in range(0, len(lines), 8)]
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")


def target_ids(encode, prompt, target):
    """The tokens that the target adds to its prompt; None where the prompt's own tokens change."""
    head, whole = encode(prompt), encode(prompt + " " + target)
    return whole[len(head):] if whole[:len(head)] == head and len(whole) > len(head) else None


def make_facts(world, encode, seed):
    """One fact for each of 50 people, the relations in turn; where there is a choice, targets take turns at one, two and three tokens."""
    rng = random.Random(seed)
    relations, facts = list(world.phrasings), []
    known = [s for s in world.subjects if len(target_ids(encode, *s.split()) or ()) == 1]
    for i, subject in enumerate(rng.sample(known, FACTS)):
        relation = relations[i % len(relations)]
        prompt = rng.choice(world.phrasings[relation])
        others = [o for o in world.objects[relation] if o != world.facts[subject, relation]]
        rng.shuffle(others)
        length = {o: len(target_ids(encode, prompt.format(subject), o) or ()) for o in others}
        fitting = [o for o in others if 1 <= length[o] <= LONGEST_TARGET]
        target = next((o for o in fitting if length[o] == i % LONGEST_TARGET + 1), fitting[0])
        facts.append({"id": f"fact-{i}", "relation": relation, "subject": subject, "prompt": prompt, "target": target,
                      "old": world.facts[subject, relation]})
    return facts


def write_facts(path, facts):
    path.write_text("".join(json.dumps(f, ensure_ascii=False) + "\n" for f in facts), encoding="utf-8")
