-- Figures of a batch beyond its votes: see `winnow.validate.profile`.

-- counts: what shares of a batch are made of
WITH texts AS (SELECT response_id, length(message) AS n FROM responses),
decided AS (
    SELECT one.n AS first_length, other.n AS second_length, preferred
    FROM preferences AS p JOIN texts AS one ON one.response_id = p.first_id
    JOIN texts AS other ON other.response_id = p.second_id
),
sided AS (
    SELECT (first_length > second_length) = (preferred = 'first') AS longer_won FROM decided
    WHERE preferred IN ('first', 'second') AND first_length <> second_length
),
timed AS (
    SELECT coalesce(active_seconds, epoch(finished_at) - epoch(started_at)) * $speed < n_chars
        AS fast
    FROM answers JOIN reading USING (task_id)
),
repeated AS (
    SELECT class_of(again.preferred) = class_of(before.preferred) AS same
    FROM judged AS again JOIN votes AS before USING (pair_id, annotator)
    WHERE again.kind = 'repeat'
)
SELECT
    (SELECT count(*) FROM sided) AS n_sided,
    (SELECT count(*) FROM sided WHERE longer_won) AS n_longer,
    (SELECT count(*) FROM timed WHERE fast IS NOT NULL) AS n_timed,
    (SELECT count(*) FROM timed WHERE fast) AS n_fast,
    (SELECT count(*) FROM repeated) AS n_repeats,
    (SELECT count(*) FROM repeated WHERE same) AS n_same,
    (SELECT count(*) FROM votes) AS n_votes,
    (SELECT count(*) FROM votes WHERE preferred IN ('tie', 'both_bad')) AS n_ties,
    (SELECT count(*) FROM votes WHERE choice IN ('a', 'b')) AS n_shown,
    (SELECT count(*) FROM votes WHERE choice = 'a') AS n_first_shown,
    (SELECT avg((first_length + second_length) / 2) FROM decided) AS mean_chars,
    (SELECT coalesce(sum(price), 0)::BIGINT FROM latest) AS paid

-- mix: comparisons by a column of theirs or of their prompts
SELECT coalesce({name}, 'unknown') AS name, count(*) AS n
FROM comparisons JOIN prompts USING (prompt_id) GROUP BY 1 ORDER BY 1

-- strata: labelled pairs by stratum
WITH labelled AS (SELECT pair_id, prompt_id, first_id, second_id FROM preferences),
named AS (
    SELECT pair_id, 'language:' || language AS stratum FROM labelled JOIN prompts USING (prompt_id)
    UNION SELECT pair_id, 'dimension:' || dimension FROM labelled JOIN prompts USING (prompt_id)
    UNION SELECT pair_id, 'tag:' || unnest(tags) FROM labelled JOIN prompts USING (prompt_id)
    UNION SELECT pair_id, 'failure:' || unnest(flags)
        FROM (SELECT pair_id, unnest([first_id, second_id]) AS response_id FROM labelled)
        JOIN responses USING (response_id)
)
SELECT stratum, count(*) FROM named GROUP BY stratum
