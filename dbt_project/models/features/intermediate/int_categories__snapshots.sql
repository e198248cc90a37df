-- Which categories are looked at when: every category at every snapshot after its first known event or catalogue entry.
with {{ snapshots_of_things('category_id', 'int_categories__daily') }}

select * from snapshots
