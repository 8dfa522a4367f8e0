"""What people's votes and metrics' distances amount to, in NumPy.

``protocols`` says what is compared and which statistics score it, ``statistics`` holds each
formula. ``clusters`` says which items vary together, ``joint_scores`` how scores vary, alone and
together, ``bootstrap`` draws resamples for that where there are very many clusters, ``intervals``
says how sure a score is, and ``scores`` makes the table. May import utils; never torch.
"""
