"""Votes to preferences.

aggregate         one preference of a pair's votes, by `dawid_skene`, `noisy_votes` or a majority
certainty         what the measured agreement of a batch lets a preference claim
agreement         how far annotators agree beyond chance
annotator_report  a row of each annotator: `annotator_counts` and `annotator_skill`
"""
