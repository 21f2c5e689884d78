#!/usr/bin/env python3
"""Write counterfactual edits of a made-up world in errata's own format, one JSON object a line.

    make_facts.py WORLD.json --out facts.jsonl --people 340 --each 3 --paraphrases 2 --neighbors 2

`people` of the world are edited, each in `each` relations; the others stay as they are and serve as neighbours, under
the phrasing of the edit's own prompt. A prompt uses one of the relation's first three phrasings and paraphrases use the
last three, so no paraphrase of the file is the wording of another fact's prompt: generality measured on it is that of
unseen wordings even when the editor learns from the prompts of sibling facts.
"""
import argparse
import json
import random

from world import World

PROMPTS, PARAPHRASES = (0, 1, 2), (3, 4, 5)


def edits(world, options):
    rng = random.Random(options.seed)
    people = rng.sample(world.subjects, options.people)
    edited = set(people)
    untouched = [subject for subject in world.subjects if subject not in edited]
    relations = list(world.phrasings)
    for number, subject in enumerate(people):
        # a walk over the relations gives each of them the same number of edits
        chosen = [relations[(number * options.each + i) % len(relations)] for i in range(options.each)]
        for relation in chosen:
            key = (subject, relation)
            old = world.facts[key]
            target = rng.choice([answer for answer in world.objects[relation] if answer != old])
            phrasing = rng.choice(PROMPTS)
            others = [(other, relation) for other in rng.sample(untouched, options.neighbors)]
            yield {
                "id": f"{subject.split()[1].lower()}-{relation}",
                "relation": relation,
                "subject": subject,
                "prompt": world.phrasings[relation][phrasing],
                "target": target,
                "old": old,
                "paraphrases": [world.prompt(key, i) for i in sorted(rng.sample(PARAPHRASES, options.paraphrases))],
                "neighbors": [{"prompt": world.prompt(other, phrasing), "target": world.facts[other]}
                              for other in others],
            }


def main():
    parser = argparse.ArgumentParser(description="write edits of a made-up world")
    parser.add_argument("world")
    parser.add_argument("--out", required=True)
    for name, value in dict(people=340, each=3, paraphrases=2, neighbors=2, seed=1).items():
        parser.add_argument("--" + name, type=int, default=value)
    options = parser.parse_args()
    with open(options.world, encoding="utf-8") as file:
        given = json.load(file)
    world = World(given["seed"], len(given["subjects"]))
    if world.to_json() != given:
        parser.error(f"{options.world} is not the world of its seed under words.json")
    count = 0
    with open(options.out, "w", encoding="utf-8") as file:
        for fact in edits(world, options):
            file.write(json.dumps(fact, ensure_ascii=False, separators=(",", ":")) + "\n")
            count += 1
    print(f"{options.out}: {count} edits")


if __name__ == "__main__":
    main()
