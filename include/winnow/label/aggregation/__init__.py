"""Votes to preferences.

aggregate         one preference of a pair's votes, by `dawid_skene`, `noisy_votes` or a majority
certainty         what the measured agreement of a batch lets a preference claim
agreement         how far annotators agree beyond chance
annotators        a row of each annotator: counts, and skill by `noisy_votes`
"""
