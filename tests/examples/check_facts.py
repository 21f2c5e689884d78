"""Hold a file of facts to what examples/README.md promises of it; prints what is wrong, one line each.

    check_facts.py FILE RECORDS RELATIONS SUBJECTS PARAPHRASES NEIGHBOURS

The numbers are lower bounds: records, relations and subjects (edited or neighbouring) of the file, paraphrases and
neighbours of each record.
"""
import json
import sys


def neighbor_subject(prompt, templates):
    """The subject of a neighbour's prompt, which is worded as some record of the same relation."""
    for before, after in sorted(templates, key=lambda t: -len(t[0]) - len(t[1])):
        # "the X" and "X" share a template; the article may open the sentence
        for start in (before, before.replace("The ", "", 1), before + "the "):
            if prompt.startswith(start) and prompt.endswith(after) and len(prompt) > len(start) + len(after):
                return prompt[len(start):len(prompt) - len(after)].removeprefix("the ").removeprefix("The ")
    return None


def record_problems(record, fewest_paraphrases, fewest_neighbors):
    subject, paraphrases = record["subject"], record["paraphrases"]
    own = record["prompt"].replace("{}", subject)
    neighbors = [neighbor["prompt"] for neighbor in record["neighbors"]]
    if record["prompt"].count("{}") != 1:
        yield "no single placeholder"
    if record["target"] == record["old"]:
        yield "nothing changes"
    if len(set(paraphrases) - {own}) < fewest_paraphrases:
        yield "too few paraphrases"
    if len(set(neighbors)) < fewest_neighbors:
        yield "too few neighbours"
    for text in paraphrases:
        if subject not in text:
            yield f"'{text}' does not name the subject"
    for text in [own, *paraphrases, *neighbors]:
        if text != text.strip() or text.endswith("."):
            yield f"'{text}' does not end right before an object"


def file_problems(records, fewest):
    templates, edited, seen, others = {}, {r["subject"] for r in records}, set(), set()
    for record in records:
        templates.setdefault(record["relation"], set()).add(tuple(record["prompt"].split("{}")))
        for key in (record["id"], (record["subject"], record["relation"])):
            if key in seen:
                yield f"{record['id']}: {key} comes twice"
            seen.add(key)
    for record in records:
        for problem in record_problems(record, *fewest[3:]):
            yield f"{record['id']}: {problem}"
        for neighbor in record["neighbors"]:
            other = neighbor_subject(neighbor["prompt"], templates[record["relation"]])
            if other is None or other in edited:
                yield f"{record['id']}: the neighbour '{neighbor['prompt']}' is edited or of another relation"
            others.add(other)
    counts = (len(records), len(templates), len(edited | others))
    for what, count, least in zip(("records", "relations", "subjects"), counts, fewest):
        if count < least:
            yield f"{count} {what}, at least {least} expected"


def main():
    path, fewest = sys.argv[1], [int(number) for number in sys.argv[2:7]]
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    found = list(file_problems(records, fewest))
    for problem in found:
        print(f"{path}: {problem}")
    return 1 if found else 0


sys.exit(main())
