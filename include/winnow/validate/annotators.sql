-- See `winnow.validate.annotators`.

-- fast: answers that came too fast
SELECT annotator, count(*) FILTER (seconds * $speed < n_chars) AS n_fast,
    count(*) FILTER (seconds IS NOT NULL AND n_chars > 0) AS n_timed
FROM (
    SELECT annotator, n_chars,
        coalesce(active_seconds, epoch(finished_at) - epoch(started_at)) AS seconds
    FROM answers LEFT JOIN reading USING (task_id)
)
GROUP BY annotator

-- reading: characters that an answer takes to read, by task; gold is not among a batch's responses
CREATE TEMP TABLE reading AS
WITH texts AS (SELECT response_id, prompt_id, length(message) AS n FROM responses),
turns AS (
    SELECT prompt_id, list_sum(list_transform(messages, lambda m: length(m.content))) AS n
    FROM prompts
)
SELECT tasks.task_id, one.n + other.n + turns.n AS n_chars
FROM tasks JOIN texts AS one ON one.response_id = shown_a
JOIN texts AS other ON other.response_id = shown_b
JOIN turns ON turns.prompt_id = one.prompt_id
