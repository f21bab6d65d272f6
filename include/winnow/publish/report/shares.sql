-- Shares of traits from the pool to the chosen side: see `winnow.publish.report.shares`.

-- steps: the responses that were compared, and which of them won
CREATE OR REPLACE TEMP TABLE steps AS
SELECT response_id, prompt_id, flags, response_id IN ({bought}) AS is_bought,
    response_id IN ({chosen}) AND response_id IN ({bought}) AS is_chosen
FROM responses

-- sizes: how many responses there are at each step
SELECT (SELECT coalesce(sum(n), 0)::BIGINT FROM profile WHERE trait = 'length') AS pool,
    count(*) FILTER (is_bought) AS bought, count(*) FILTER (is_chosen) AS chosen
FROM steps

-- traits: by trait, how many responses have it
WITH traits AS (
    SELECT 'language ' || coalesce(nullif(language, ''), 'unknown') AS name, is_bought, is_chosen
    FROM steps JOIN prompts USING (prompt_id)
    UNION ALL SELECT 'dimension ' || dimension, is_bought, is_chosen
    FROM steps JOIN prompts USING (prompt_id) WHERE dimension IS NOT NULL
    UNION ALL SELECT 'tag ' || tag, is_bought, is_chosen FROM steps JOIN (
        SELECT prompt_id, unnest(list_distinct(tags)) AS tag FROM prompts
    ) USING (prompt_id)
    UNION ALL SELECT flag, is_bought, is_chosen
    FROM (SELECT unnest(list_distinct(flags)) AS flag, is_bought, is_chosen FROM steps)
), compared AS (
    SELECT name, count(*) FILTER (is_bought) AS bought, count(*) FILTER (is_chosen) AS chosen
    FROM traits GROUP BY name
), pools AS (
    SELECT CASE trait WHEN 'flag' THEN value
        WHEN 'language' THEN 'language ' || coalesce(nullif(value, ''), 'unknown')
        ELSE trait || ' ' || value END AS name, sum(n)::BIGINT AS pool
    FROM profile WHERE trait <> 'length' GROUP BY 1
)
SELECT name, pool, coalesce(bought, 0) AS bought, coalesce(chosen, 0) AS chosen
FROM pools LEFT JOIN compared USING (name) ORDER BY pool DESC, name
