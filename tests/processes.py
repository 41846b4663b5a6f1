"""What jobs run, at random; valid by themselves."""

from __future__ import annotations

from hypothesis import strategies as st

from allocator.domain.process import CHECKPOINT_SIGNALS, NO_RETRIES, Condition, Dependency, Process, Retries

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_names = st.from_regex(r"[A-Z_]{1,5}[0-9]?", fullmatch=True).filter(lambda name: not name.startswith("ALLOCATOR_"))
_files = st.sampled_from(["", "out.txt", "logs/%j-%r.log", "%a%%"])

processes = st.builds(
    Process,
    st.lists(_texts, min_size=1, max_size=4).filter(lambda command: bool(command[0])).map(tuple),
    st.dictionaries(_names, _texts, max_size=3).map(lambda pairs: tuple(sorted(pairs.items()))),
    st.sampled_from(["", "/srv/work", "/"]),
    _files,
    _files,
    st.sampled_from(["", *CHECKPOINT_SIGNALS]),
    st.floats(0, 3600),
)
retries = st.just(NO_RETRIES) | st.builds(Retries, st.integers(0, 1000), st.floats(0, 1e9), st.floats(0, 1e9))
dependencies = st.lists(
    st.builds(Dependency, st.integers(1, 99).map(lambda number: f"j{number}"), st.sampled_from(Condition)),
    max_size=3,
    unique_by=lambda dependency: dependency.job_id,
).map(tuple)
array_indices = st.none() | st.integers(0, 999_999)
