create view relaxation_summary as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    evaluation.device,
    relaxation_total.n_structures,
    relaxation_total.n_converged,
    relaxation_total.n_converged::double precision / relaxation_total.n_structures as convergence_rate,
    relaxation_total.n_failed,
    relaxation_total.force_calls_median,
    relaxation_total.force_calls,
    relaxation_total.wall_s,
    relaxation_total.displacement_rmsd_mean_ang,
    relaxation_total.volume_change_mean_fraction
from evaluation
join relaxation_total on relaxation_total.evaluation_id = evaluation.id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed';

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
comment on column relaxation_summary.displacement_rmsd_mean_ang is 'from the target (or start), Å, over those that have a final state';
comment on column relaxation_summary.volume_change_mean_fraction is 'final over target or start volume, minus one';
