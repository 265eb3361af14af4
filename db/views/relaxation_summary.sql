create view relaxation_summary as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    evaluation.device,
    count(*) as n_structures,
    count(*) filter (where relaxation.converged) as n_converged,
    avg(relaxation.converged::integer)::double precision as convergence_rate,
    count(*) filter (where relaxation.energy_final_ev is null) as n_failed,
    percentile_cont(0.5) within group (order by relaxation.force_calls)
        filter (where relaxation.converged) as force_calls_median,
    sum(relaxation.force_calls) as force_calls,
    sum(relaxation.wall_s) as wall_s,
    avg(relaxation.displacement_rmsd_ang) as displacement_rmsd_mean_ang,
    avg(relaxation.volume_change_fraction) as volume_change_mean_fraction
from evaluation
join relaxation on relaxation.evaluation_id = evaluation.id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed'
group by evaluation.id, model_version.name, model_version.version, benchmark.name, benchmark.version, benchmark.kind;

comment on view relaxation_summary is 'how many structures each model relaxed on each benchmark, in how many force calls and seconds';
comment on column relaxation_summary.model is 'NAME@VERSION';
comment on column relaxation_summary.benchmark is 'NAME@VERSION';
comment on column relaxation_summary.kind is 'rattle-relax, substitution-relax or relax';
comment on column relaxation_summary.device is 'cpu or cuda';
comment on column relaxation_summary.n_structures is 'structures relaxed';
comment on column relaxation_summary.n_converged is 'whose final state is below fmax';
comment on column relaxation_summary.convergence_rate is 'n_converged over n_structures';
comment on column relaxation_summary.n_failed is 'without a final state';
comment on column relaxation_summary.force_calls_median is 'over the converged';
comment on column relaxation_summary.force_calls is 'all together';
comment on column relaxation_summary.wall_s is 'seconds, all together';
comment on column relaxation_summary.displacement_rmsd_mean_ang is 'from the target, Å, over those that have one and a final state';
comment on column relaxation_summary.volume_change_mean_fraction is 'final over target or start volume, minus one';
