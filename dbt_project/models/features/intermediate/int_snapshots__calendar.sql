-- One row an as_of: the holidays, promotions and advertisements around it, as they were known then.
with grid as (
    select grid.as_of
    from {{ ref('int_snapshots__grid') }} as grid
    where {{ due('grid') }}
),

campaigns as (
    select * from {{ ref('stg_campaigns') }}
),

-- Of each campaign the latest version known by then, if it says when the campaign is.
latest as (
    select
        campaigns.kind,
        campaigns.discount,
        campaigns.starts_at,
        campaigns.ends_at,
        grid.as_of
    from grid
    inner join campaigns
        on grid.as_of > campaigns.known_from
    qualify
        row_number() over (partition by grid.as_of, campaigns.campaign_id order by campaigns.known_from desc) = 1
),

known as (
    select * from latest
    where starts_at < ends_at
),

spans as (
    select
        {%- for name, condition in calendar_groups().items() %}
        max(discount) filter (where {{ condition }} and starts_at <= as_of and ends_at > as_of) as {{ name }}_discount,
        coalesce(bool_or({{ condition }} and starts_at <= as_of and ends_at > as_of), false) as is_{{ name }},
        date_diff(
            'second', as_of, min(starts_at) filter (where {{ condition }} and starts_at > as_of)
        ) / 86400.0 as days_to_next_{{ name }},
        date_diff(
            'second', max(ends_at) filter (where {{ condition }} and ends_at <= as_of), as_of
        ) / 86400.0 as days_since_last_{{ name }},
        {%- endfor %}
        as_of
    from known
    group by as_of
),

-- Every day from 30 days before as_of to 30 days after, with what takes place on it.
days as (
    select
        {%- for name, condition in calendar_groups().items() %}
        bool_or({{ condition }}) as is_{{ name }},
        {%- endfor %}
        day_offsets.days_on,
        known.as_of
    from known
    inner join range(-30, 30) as day_offsets (days_on)
        on
            known.starts_at < known.as_of + to_days((day_offsets.days_on + 1)::integer)
            and known.ends_at > known.as_of + to_days(day_offsets.days_on::integer)
    group by known.as_of, day_offsets.days_on
),

counts as (
    select
        as_of,
        {%- for name in calendar_groups() %}
        {%- for window in [7, 30] %}
        sum((is_{{ name }} and days_on between -{{ window }} and -1)::utinyint) as {{ name }}_days_last_{{ window }}d,
        sum((is_{{ name }} and days_on between 0 and {{ window - 1 }})::utinyint) as {{ name }}_days_next_{{ window }}d,
        {%- endfor %}
        {%- endfor %}
        count(*) as day_count
    from days
    group by as_of
),

calendar as (
    select
        {%- for name in calendar_groups() %}
        {%- for window in [7, 30] %}
        {%- for side in ['last', 'next'] %}
        {%- set column = name ~ '_days_' ~ side ~ '_' ~ window ~ 'd' %}
        coalesce(counts.{{ column }}, 0)::integer as {{ column }},
        {%- endfor %}
        {%- endfor %}
        spans.days_to_next_{{ name }},
        spans.days_since_last_{{ name }},
        spans.{{ name }}_discount,
        {%- endfor %}
        {%- for name in calendar_groups() %}
        coalesce(spans.is_{{ name }}, false) as is_{{ name }},
        {%- endfor %}
        grid.as_of
    from grid
    left join spans
        on grid.as_of = spans.as_of
    left join counts
        on grid.as_of = counts.as_of
)

select * from calendar
