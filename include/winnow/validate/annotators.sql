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
SELECT tasks.task_id, length(one.message) + length(other.message)
    + list_sum(list_transform(prompts.messages, lambda m: length(m.content))) AS n_chars
FROM tasks JOIN responses AS one ON one.response_id = shown_a
JOIN responses AS other ON other.response_id = shown_b
JOIN prompts ON prompts.prompt_id = one.prompt_id
