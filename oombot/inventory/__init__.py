"""Which hosts there are and what people call them: ranges, groups of groups, and what other inventories say."""
