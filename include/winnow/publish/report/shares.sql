-- Shares of traits from the pool to the chosen side: see `winnow.publish.report.shares`.

-- steps: the responses, and which of them were bought and won
CREATE OR REPLACE TEMP TABLE steps AS
SELECT response_id, prompt_id, flags, response_id IN ({bought}) AS is_bought,
    response_id IN ({chosen}) AND response_id IN ({bought}) AS is_chosen
FROM responses

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
)
SELECT name, {counts} FROM traits GROUP BY name ORDER BY pool DESC, name
