"""Generated from protos/allocator/v1 by `make protos`; never edited. Translated to domain types in `allocator.wire` only."""
