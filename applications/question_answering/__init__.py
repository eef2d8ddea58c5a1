"""Question answering: a story is read several times for each question, by a memory network."""
