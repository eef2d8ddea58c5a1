"""A folder like that of the Children's Book Test, small and made up."""

from __future__ import annotations

HEROES = (("Tom", "Mr. Fox"), ("Anna", "Old Bear"), ("Ivan", "Miss Owl"), ("Rosa", "King Frog"))


def book(number, sentences=30):
    """A tokenised book in which two take turns, and are seen by each other."""
    one, other = HEROES[number]
    lines = [f"_BOOK_TITLE_ : Somebody___Book_{number}.txt.out"]
    for at in range(sentences):
        first, second = (one, other) if at % 2 else (other, one)
        lines.append(f"The wind blew , and {first} saw that {second} was at the pond {at} times .")
    return lines


def write(folder, train=False, sentences=30):
    """Three books for training and validation, or four if there is a training file; one to test."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"valid": (0, 1, 2), "test": (3,)}
    if train:
        files = {"train": (0, 1), "valid": (2,), "test": (3,)}
    for part, numbers in files.items():
        lines = [line for number in numbers for line in book(number, sentences)]
        (folder / f"cbt_{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
