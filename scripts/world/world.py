#!/usr/bin/env python3
"""A made-up world: people with invented names, ten things that can be said of each, six ways of saying each.

    world.py --seed 21 --people 400 --out world.json

A world is a pure function of (seed, people, words.json), so any file made from it can be made again. world.json holds
    subjects  the people
    objects   relation -> the answers it can have
    facts     [subject, relation, object], every person under every relation
    held      for each fact the two phrasings (by index) that a model is never trained on
Python's standard library is enough.
"""
import argparse
import json
import os
import random

WORDS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "words.json")
HELD_OUT = 2  # phrasings of each fact that training never shows


class World:
    """words.json, and with seed and people: subjects, objects, facts and held."""

    def __init__(self, seed, people, words_path=WORDS):
        with open(words_path, encoding="utf-8") as file:
            words = json.load(file)
        self.seed = seed
        self.syllables = words["syllables"].split()
        self.endings = words["endings"].split()
        self.filler_parts = words["filler"]
        self.phrasings = {name: relation["phrasings"] for name, relation in words["relations"].items()}
        self._draw(people, {name: relation["objects"] for name, relation in words["relations"].items()})

    def _draw(self, people, objects):
        """The order of the draws is part of the format: a change here makes other worlds of the same seeds."""
        rng, used = random.Random(self.seed), set()
        # A number stands for that many invented names (towns, firms), a string lists real words.
        self.objects = {name: [self._new_name(rng, used, 2, 3) for _ in range(given)] if isinstance(given, int)
                        else given.split() for name, given in objects.items()}
        first_names = [self._new_name(rng, used, 1, 2) for _ in range(max(24, people // 20))]
        # Last names are unique, first names are shared: the last token of a subject tells who it is.
        self.subjects = [rng.choice(first_names) + " " + self._new_name(rng, used, 2, 3) for _ in range(people)]
        self.facts = {(subject, relation): rng.choice(self.objects[relation])
                      for subject in self.subjects for relation in self.phrasings}
        self.rng = random.Random(self.seed + 1)  # continues into the trainer's order of sentences
        self.held = {}
        for key in self.facts:
            order = list(range(len(self.phrasings[key[1]])))
            self.rng.shuffle(order)
            self.held[key] = order[:HELD_OUT]

    def _new_name(self, rng, used, fewest, most):
        """A name of `fewest`..`most` syllables that nobody and nothing bears yet."""
        while True:
            name = "".join(rng.choice(self.syllables) for _ in range(rng.randint(fewest, most)))
            if rng.random() < 0.6:
                name += rng.choice(self.endings)
            name = name.capitalize()
            if name not in used:
                used.add(name)
                return name

    def prompt(self, key, phrasing):
        return self.phrasings[key[1]][phrasing].format(key[0])

    def sentence(self, key, phrasing):
        return self.prompt(key, phrasing) + " " + self.facts[key] + "."

    def shown(self, key):
        """The phrasings of this fact that training may show."""
        return [i for i in range(len(self.phrasings[key[1]])) if i not in self.held[key]]

    def filler(self, rng):
        """A sentence about nothing, so that a model learns more than one shape of sentence."""
        return " ".join(rng.choice(part) for part in self.filler_parts) + "."

    def to_json(self):
        return {"seed": self.seed, "subjects": self.subjects, "objects": self.objects,
                "facts": [[subject, relation, answer] for (subject, relation), answer in self.facts.items()],
                "held": list(self.held.values())}


def main():
    parser = argparse.ArgumentParser(description="write a made-up world as JSON")
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--out", default="world.json")
    options = parser.parse_args()
    world = World(options.seed, options.people)
    with open(options.out, "w", encoding="utf-8") as file:
        json.dump(world.to_json(), file, separators=(",", ":"))
        file.write("\n")
    print(f"{options.out}: {len(world.subjects)} people, {len(world.facts)} facts")


if __name__ == "__main__":
    main()
