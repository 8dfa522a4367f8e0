"""What people's votes and metrics' distances amount to, in NumPy.

``protocols`` says what is compared and which statistics score it, ``statistics`` holds each
formula, ``bootstrap`` and ``intervals`` say how sure a score is, ``scores`` makes the table. May
import utils; never torch.
"""
