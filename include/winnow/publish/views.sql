-- What the views of `winnow.publish.views` are read from, and how: `$start` to `$end` is a block of
-- prompts, `$low` to `$high` are places of a split.

-- macros: LLaMA-Factory's turns of a prompt, a first one of the system aside, must alternate
CREATE OR REPLACE TEMP MACRO talk(messages) AS
    CASE WHEN messages[1].role = 'system' THEN messages[2:] ELSE messages END;
CREATE OR REPLACE TEMP MACRO alternates(messages) AS len(list_filter(talk(messages),
    lambda turn, place: turn.role = 'system' OR (turn.role = 'assistant') = (place % 2 = 1))) = 0;
-- Calls are the last lines of a turn, as `winnow.ingest.turns.call_text` writes them.
CREATE OR REPLACE TEMP MACRO part_of_call(line, part) AS
    regexp_extract(line, '^\{"name": ("(?:[^"\\]|\\.)*"), "arguments": (\{.*\})\}$', part);
CREATE OR REPLACE TEMP MACRO is_call(line) AS
    json_valid(part_of_call(line, 1)) AND json_valid(part_of_call(line, 2));
CREATE OR REPLACE TEMP MACRO lines_of(text) AS string_split(text, chr(10));
-- How many lines stand before the calls.
CREATE OR REPLACE TEMP MACRO n_said(lines) AS len(lines) + 1 - coalesce(nullif(list_position(
    list_transform(list_reverse(lines), lambda line: is_call(line)), false), 0), len(lines) + 1);
CREATE OR REPLACE TEMP MACRO has_calls(text) AS
    starts_with(lines_of(text)[-1], '{"name": ') AND is_call(lines_of(text)[-1]);
CREATE OR REPLACE TEMP MACRO by_model(text, tools) AS CASE
    WHEN tools IS NULL OR n_said(lines_of(text)) > 0 THEN {'from': 'gpt', 'value': text}
    WHEN len(lines_of(text)) = 1 THEN {'from': 'function_call', 'value': text}
    ELSE {'from': 'function_call', 'value': '[' || replace(text, chr(10), ', ') || ']'} END;
CREATE OR REPLACE TEMP MACRO with_calls(turn_role, text) AS
    CASE WHEN turn_role = 'assistant' AND has_calls(text) THEN {
        'role': turn_role,
        'content': array_to_string(lines_of(text)[:n_said(lines_of(text))], chr(10)),
        'tool_calls': list_transform(lines_of(text)[n_said(lines_of(text)) + 1:], lambda line: {
            'type': 'function', 'function': {
                'name': part_of_call(line, 1)::JSON ->> '$', 'arguments': part_of_call(line, 2)
            }
        })
    } ELSE {'role': turn_role, 'content': text, 'tool_calls': NULL} END;
-- Why a reader of `talks` would change an answer. Axolotl looks for it in a frame, which templates trim.
CREATE OR REPLACE TEMP MACRO fault_of(message, frames) AS CASE
    WHEN regexp_full_match(message, '[\s\v\pZ\x{1c}-\x{1f}\x{85}]*') THEN 'empty answer'
    WHEN regexp_matches(message, '^[\s\v\pZ\x{1c}-\x{1f}\x{85}]|[\s\v\pZ\x{1c}-\x{1f}\x{85}]$')
        THEN 'padded answer'
    WHEN contains(message, '</think>') THEN 'answer with thoughts'
    WHEN contains(frames, message) THEN 'answer as in a chat template' END;
CREATE OR REPLACE TEMP MACRO said(message) AS [{'role': 'assistant', 'content': message}];
-- What is beyond rounding: the votes on a response's pairs may cancel out.
CREATE OR REPLACE TEMP MACRO tells(favour) AS abs(favour) > 1e-9;

-- asked: the prompts, with their places in the splits
CREATE OR REPLACE TEMP TABLE asked AS
SELECT prompts.prompt_id, row_n AS q, messages, tools, dimension, language, place,
    alternates(messages) AS alternates, tools IS NOT NULL AND len(list_filter(messages,
        lambda turn: turn.role = 'assistant' AND has_calls(turn.content))) > 0 AS calls
FROM prompts JOIN given_places USING (prompt_id) ORDER BY q

-- dealt: what was compared, a folder for the texts of each block; to sort them all would take many times
-- their size
COPY (
    SELECT response_id, message, q - q % {block} AS block
    FROM responses JOIN (SELECT q, prompt_id FROM asked) USING (prompt_id)
    WHERE response_id IN (SELECT unnest([first_id, second_id]) FROM comparisons)
) TO '{folder}' (FORMAT parquet, COMPRESSION lz4, PARTITION_BY (block), OVERWRITE)

-- texts: the same to read; `block` is its first prompt
CREATE OR REPLACE TEMP VIEW texts AS
SELECT response_id, message, block
FROM read_parquet('{files}/*/*.parquet', hive_partitioning = true, hive_types = {{'block': BIGINT}})

-- no_texts
CREATE OR REPLACE TEMP VIEW texts AS
SELECT ''::VARCHAR AS response_id, ''::VARCHAR AS message, 0::BIGINT AS block WHERE false

-- rated: votes with what they say on dimensions that were asked beside the choice
CREATE OR REPLACE TEMP TABLE rated AS
SELECT q, c.row_n AS n, pair_id, ratings FROM votes JOIN comparisons AS c USING (pair_id)
JOIN (SELECT q, prompt_id FROM asked) AS asked ON asked.prompt_id = c.prompt_id
WHERE len(ratings) > 0 ORDER BY q;
CREATE OR REPLACE TEMP TABLE judged_dimensions (q BIGINT, n BIGINT, pair_id VARCHAR,
    dimension VARCHAR, n_votes INTEGER, for_first INTEGER, for_second INTEGER, lead DOUBLE,
    preferred VARCHAR);
CREATE OR REPLACE TEMP TABLE told_pairs
    (q BIGINT, pair_id VARCHAR, has_first BOOLEAN, has_second BOOLEAN, told STRUCT(dimension VARCHAR,
        preferred VARCHAR, "first" INTEGER, "second" INTEGER, ties INTEGER)[])

-- judged_dimensions: what people say of a pair on each of them, slice by slice
INSERT INTO judged_dimensions
SELECT *, CASE WHEN 2 * for_first > n_votes THEN 'first' WHEN 2 * for_second > n_votes THEN 'second'
    ELSE 'tie' END
FROM (
    SELECT q, n, pair_id, rating.dimension, count(*) AS n_votes,
        count(*) FILTER (rating.first > rating.second) AS for_first,
        count(*) FILTER (rating.first < rating.second) AS for_second,
        sum(rating.first::INTEGER - rating.second) / count(*)
    FROM (
        SELECT * EXCLUDE (ratings), unnest(ratings) AS rating FROM rated
        WHERE q >= $start AND q < $end
    ) GROUP BY ALL
) ORDER BY q

-- told_pairs: the same as a row a pair
INSERT INTO told_pairs
SELECT q, pair_id, bool_or(preferred = 'first'), bool_or(preferred = 'second'), list({
        'dimension': dimension, 'preferred': preferred, 'first': for_first, 'second': for_second,
        'ties': n_votes - for_first - for_second
    } ORDER BY dimension)
FROM judged_dimensions WHERE q >= $start AND q < $end GROUP BY q, pair_id ORDER BY q

-- by_dimension: a row for each of them on which people prefer a side, whatever they chose
CREATE OR REPLACE TEMP VIEW by_dimension AS
SELECT q, n, pair_id, c.prompt_id, d.dimension, n_votes AS votes, abs(lead) AS lead,
    greatest(for_first, for_second) / n_votes AS agreement,
    CASE preferred WHEN 'first' THEN first_id ELSE second_id END AS chosen_id,
    CASE preferred WHEN 'first' THEN second_id ELSE first_id END AS rejected_id,
    kind, strategy
FROM judged_dimensions AS d JOIN comparisons AS c USING (pair_id) WHERE preferred <> 'tie'

-- decided: pairs whose votes name a side
CREATE OR REPLACE TEMP TABLE decided AS
SELECT q, p.row_n AS n, p.pair_id, p.prompt_id, p.votes, p.agreement,
    p.cost / 1_000_000 AS cost_usd, chosen_id, rejected_id, p_chosen,
    greatest(0.0, ln(p_chosen / (1.0 - p_chosen))) AS margin,
    greatest(0.0, 2.0 * p_chosen - 1.0) AS weight,
    c.dimension, c.kind, c.strategy, c.info_gain, c.propensity,
    p.preferred, CASE p.preferred WHEN 'first' THEN has_second ELSE has_first END AS conflict
FROM (
    SELECT *, CASE WHEN preferred = 'first' THEN first_id ELSE second_id END AS chosen_id,
        CASE WHEN preferred = 'first' THEN second_id ELSE first_id END AS rejected_id,
        CASE WHEN preferred = 'first' THEN p_preferred ELSE 1.0 - p_preferred END AS p_chosen
    FROM preferences WHERE preferred IN ('first', 'second')
) AS p JOIN comparisons AS c USING (pair_id)
LEFT JOIN (SELECT pair_id, has_first, has_second FROM told_pairs) AS told USING (pair_id)
JOIN (SELECT q, prompt_id FROM asked) AS asked ON asked.prompt_id = p.prompt_id ORDER BY q

-- certain: those of them that are sure enough
CREATE OR REPLACE TEMP TABLE certain AS
SELECT * FROM decided WHERE p_chosen >= $certain ORDER BY q

-- spoken: what is to be known of the answers of certain pairs without their texts
CREATE OR REPLACE TEMP TABLE spoken AS
SELECT response_id, hash(message) AS looks, fault_of(message, $frames) AS fault,
    tools IS NOT NULL AND has_calls(message) AS calls
FROM responses JOIN (SELECT prompt_id, tools FROM prompts) USING (prompt_id)
WHERE response_id IN (SELECT unnest([chosen_id, rejected_id]) FROM certain)

-- left_out: why certain pairs are not in the views of certain trainers
CREATE OR REPLACE TEMP TABLE sides AS
SELECT pair_id, CASE WHEN better.looks = worse.looks THEN 'equal answers'
        ELSE coalesce(better.fault, worse.fault) END AS fault,
    asked.calls OR better.calls OR worse.calls AS calls, alternates
FROM certain JOIN asked USING (q) JOIN spoken AS better ON better.response_id = chosen_id
JOIN spoken AS worse ON worse.response_id = rejected_id;
CREATE OR REPLACE TEMP VIEW left_out AS
SELECT 'talks' AS of_view, pair_id, fault AS reason FROM sides WHERE fault IS NOT NULL
UNION ALL SELECT 'sharegpt', pair_id, 'turns do not alternate' FROM sides WHERE NOT alternates

-- expected: how many rows each view must have
-- Counted in the tables alone, without the joins and slices by which views are read: what is published
-- is held against it.
CREATE OR REPLACE TEMP TABLE expected AS
WITH sided AS (
    SELECT *, CASE preferred WHEN 'first' THEN p_preferred ELSE 1.0 - p_preferred END AS p_chosen
    FROM preferences WHERE preferred IN ('first', 'second')
),
sure AS (
    SELECT pair_id, preferred, prompt_id, first_id, second_id, CASE preferred WHEN 'first' THEN 1 ELSE -1 END
        * greatest(0.0, ln(p_chosen / (1.0 - p_chosen))) AS favour
    FROM sided WHERE p_chosen >= $certain
),
single AS (
    SELECT sum(favour) AS favour FROM (
        SELECT prompt_id, first_id AS id, favour FROM sure
        UNION ALL SELECT prompt_id, second_id, -favour FROM sure
    ) GROUP BY prompt_id, id
)
SELECT
    (SELECT count(*) FROM sided) AS reward,
    (SELECT count(*) FROM sure) AS dpo,
    (SELECT count(*) FROM single WHERE tells(favour)) AS kto,
    (SELECT count(*) FROM prompts) AS prompts,
    (SELECT count(*) FROM annotations WHERE kind IS DISTINCT FROM 'gold') AS annotations,
    (SELECT count(*) FROM sure WHERE prompt_id IN (
        SELECT prompt_id FROM prompts WHERE alternates(messages)
    )) AS sharegpt,
    (SELECT count(*) FROM sure) - (SELECT count(*) FROM left_out WHERE of_view = 'talks') AS talks,
    (SELECT count(*) FROM sides WHERE calls) AS calls,
    (SELECT count(*) FROM judged_dimensions WHERE preferred <> 'tie') AS dimensions,
    (SELECT count(*) FROM sure WHERE EXISTS (
        FROM judged_dimensions AS d WHERE d.pair_id = sure.pair_id
    ) AND NOT EXISTS (
        FROM judged_dimensions AS d
        WHERE d.pair_id = sure.pair_id AND d.preferred NOT IN ('tie', sure.preferred)
    )) AS consistent

-- no_singles
CREATE OR REPLACE TEMP TABLE singles
    (q BIGINT, response_id VARCHAR, prompt_id VARCHAR, pair_ids VARCHAR[], favour DOUBLE)

-- singles: a row a response of a certain pair
-- One row a pair and side would tell a trainer that a response which wins one pair and loses another
-- is both good and bad, so the log-odds of its pairs are added up. In the order of ids, which are
-- hashes: TRL's KTO takes the answers of neighbours for answers to other prompts. Slice by slice:
-- lists that grow beside each other are what DuckDB cannot put aside.
INSERT INTO singles
SELECT q, response_id, any_value(prompt_id) AS prompt_id, list(pair_id ORDER BY n) AS pair_ids,
    list_sum(list(favour ORDER BY n)) AS favour
FROM (
    SELECT q, n, pair_id, prompt_id, chosen_id AS response_id, margin AS favour FROM certain
    UNION ALL SELECT q, n, pair_id, prompt_id, rejected_id, -margin FROM certain
)
WHERE q >= $start AND q < $end
GROUP BY q, response_id HAVING tells(favour) ORDER BY q

-- answered: annotations of prompts
CREATE OR REPLACE TEMP TABLE answered AS
SELECT q, a.* EXCLUDE (row_n), c.prompt_id, first_id, second_id
FROM every_annotation AS a JOIN comparisons AS c USING (pair_id)
JOIN (SELECT q, prompt_id FROM asked) AS asked ON asked.prompt_id = c.prompt_id
WHERE a.kind IS DISTINCT FROM 'gold' ORDER BY q

-- block: what is joined is cut down to a block first, its prompts and their texts
WITH block AS (FROM asked WHERE q >= $start AND q < $end AND place >= $low AND place < $high),
told AS (FROM texts WHERE block >= $start AND block < $end)

-- pairs: of the table in braces, in the order of n
SELECT block.messages AS prompt, said(better.message) AS chosen,
    said(worse.message) AS rejected, tools, language,
    pairs.*
FROM {pairs} AS pairs JOIN block USING (q) JOIN told AS better ON better.response_id = chosen_id
JOIN told AS worse ON worse.response_id = rejected_id
WHERE pairs.q >= $start AND pairs.q < $end

-- judged: rows of pairs, in braces, with what was said of their dimensions
SELECT pairs.*, list_transform(told, lambda each: {{
        'dimension': each.dimension,
        'preferred': CASE each.preferred WHEN 'tie' THEN 'tie' WHEN pairs.preferred THEN 'chosen'
            ELSE 'rejected' END,
        'chosen_votes': CASE pairs.preferred WHEN 'first' THEN each.first ELSE each.second END,
        'rejected_votes': CASE pairs.preferred WHEN 'first' THEN each.second ELSE each.first END,
        'ties': each.ties
    }}) AS dimensions
FROM ({rows}) AS pairs LEFT JOIN (
    SELECT pair_id, told FROM told_pairs WHERE q >= $start AND q < $end
) AS told USING (pair_id)

-- kto: in the order of response_id
SELECT block.messages AS prompt, said(message) AS completion,
    favour > 0.0 AS label, tools, response_id, singles.prompt_id, pair_ids
FROM singles JOIN block USING (q) JOIN told USING (response_id)
WHERE singles.q >= $start AND singles.q < $end

-- prompts: in the order of q
SELECT *, messages AS prompt, coalesce(dimension, '') AS ability, 'winnow' AS data_source,
    {'style': 'model', 'ground_truth': ''} AS reward_model, {'prompt_id': prompt_id, 'index': q} AS extra_info
FROM block

-- annotations: in the order of annotation_id, revision
SELECT a.* EXCLUDE (prompt_id), block.messages AS prompt, tools, block.prompt_id,
    one.message AS first, other.message AS second
FROM answered AS a JOIN block USING (q)
JOIN told AS one ON one.response_id = first_id
JOIN told AS other ON other.response_id = second_id
WHERE a.q >= $start AND a.q < $end

-- sharegpt: in the order of n
SELECT list_transform(talk(messages), lambda turn: {
        'from': CASE turn.role WHEN 'user' THEN 'human' WHEN 'tool' THEN 'observation'
            ELSE by_model(turn.content, tools)['from'] END,
        'value': CASE turn.role WHEN 'assistant' THEN by_model(turn.content, tools)['value']
            ELSE turn.content END
    }) AS conversations,
    by_model(better.message, tools) AS chosen, by_model(worse.message, tools) AS rejected,
    CASE WHEN messages[1].role = 'system' THEN messages[1].content ELSE '' END AS system,
    coalesce(tools, '') AS tools, certain.*
FROM certain JOIN block USING (q)
JOIN told AS better ON better.response_id = chosen_id
JOIN told AS worse ON worse.response_id = rejected_id
WHERE alternates AND certain.q >= $start AND certain.q < $end

-- talks: in the order of n
SELECT messages || said(better.message) AS chosen, messages || said(worse.message) AS rejected,
    tools, language, certain.*
FROM certain JOIN block USING (q)
JOIN told AS better ON better.response_id = chosen_id
JOIN told AS worse ON worse.response_id = rejected_id
WHERE pair_id NOT IN (SELECT pair_id FROM left_out WHERE of_view = 'talks')
    AND certain.q >= $start AND certain.q < $end

-- calls: in the order of n
SELECT list_transform(messages, lambda turn: with_calls(turn.role, turn.content)) AS prompt,
    [with_calls('assistant', better.message)] AS chosen,
    [with_calls('assistant', worse.message)] AS rejected, tools, language, certain.*
FROM certain JOIN block USING (q)
JOIN told AS better ON better.response_id = chosen_id
JOIN told AS worse ON worse.response_id = rejected_id
WHERE pair_id IN (SELECT pair_id FROM sides WHERE calls) AND certain.q >= $start AND certain.q < $end

-- listed: rankings of whose pairs none is set aside; a pair of K responses weighs 2 / K of another one
CREATE OR REPLACE TEMP TABLE listed AS
SELECT q, l.* EXCLUDE (row_n), cost / 1_000_000 AS cost_usd, sure.weight, dimension, kind, strategy
FROM lists AS l
JOIN (
    SELECT prompt_id, count(*) AS n, avg(abs(2.0 * p_preferred - 1.0)) AS weight
    FROM preferences GROUP BY prompt_id
) AS sure ON sure.prompt_id = l.prompt_id
    AND 2 * n = len(response_ids) * (len(response_ids) - 1)
JOIN (
    SELECT prompt_id, any_value(dimension) AS dimension, any_value(kind) AS kind,
        any_value(strategy) AS strategy
    FROM comparisons GROUP BY prompt_id
) AS chosen ON chosen.prompt_id = l.prompt_id
JOIN (SELECT q, prompt_id FROM asked) AS asked ON asked.prompt_id = l.prompt_id ORDER BY q;
UPDATE decided SET weight = weight * 2.0 / len(response_ids)
FROM lists WHERE lists.prompt_id = decided.prompt_id

-- expected_lists: how many rows the view of rankings must have
SELECT count(*) AS n FROM lists WHERE len(response_ids) * (len(response_ids) - 1) = 2 * (
    SELECT count(*) FROM preferences WHERE preferences.prompt_id = lists.prompt_id
) AND prompt_id IN (SELECT prompt_id FROM prompts)

-- listwise: in the order of q
SELECT block.messages AS prompt, responses, tools, language, listed.*
FROM listed JOIN block USING (q) JOIN (
    SELECT ranking_id, list(said(message) ORDER BY place) AS responses
    FROM (
        SELECT ranking_id, unnest(response_ids) AS response_id,
            unnest(range(len(response_ids))) AS place
        FROM listed WHERE q >= $start AND q < $end
    ) JOIN told USING (response_id) GROUP BY ranking_id
) USING (ranking_id)
WHERE listed.q >= $start AND listed.q < $end
