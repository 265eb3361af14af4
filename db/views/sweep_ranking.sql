create view sweep_ranking as
select
    sweep.name || '@' || sweep.version as sweep,
    case
        when sweep_trial.score is not null
        then rank() over (partition by sweep.id order by sweep_trial.score asc nulls last)
    end as rank,
    sweep_trial.number as trial,
    sweep_trial.state,
    sweep_trial.score,
    sweep_trial.params,
    model_version.name || '@' || model_version.version as model,
    epoch_metric.energy_rmse_ev_per_atom,
    epoch_metric.energy_mae_ev_per_atom,
    epoch_metric.forces_rmse_ev_per_ang,
    epoch_metric.forces_mae_ev_per_ang,
    training_run.best_epoch,
    coalesce(training_run.train_s, training_run.wall_s) as seconds,
    sweep_trial.failure,
    sweep_trial.flow_run_id,
    sweep.id as sweep_id,
    sweep_trial.training_run_id,
    sweep_trial.model_version_id
from sweep
join sweep_trial on sweep_trial.sweep_id = sweep.id
left join training_run on training_run.id = sweep_trial.training_run_id
left join epoch_metric
    on epoch_metric.training_run_id = training_run.id and epoch_metric.epoch = training_run.best_epoch
left join model_version on model_version.id = sweep_trial.model_version_id;

comment on view sweep_ranking is 'trials of every sweep with their place by validation score, one row a trial';
comment on column sweep_ranking.sweep is 'NAME@VERSION';
comment on column sweep_ranking.rank is '1 is the best of its sweep, equal scores share a place; null without a score';
comment on column sweep_ranking.trial is '0, 1, ...';
comment on column sweep_ranking.state is 'waiting, running, completed or failed';
comment on column sweep_ranking.score is 'best validation score, lower is better';
comment on column sweep_ranking.params is 'values of the fields that are searched, for example params ->> ''lr''';
comment on column sweep_ranking.model is 'NAME@VERSION that it made; null until it is completed';
comment on column sweep_ranking.energy_rmse_ev_per_atom is 'of the best epoch on the validation split, eV/atom';
comment on column sweep_ranking.energy_mae_ev_per_atom is 'of the best epoch on the validation split, eV/atom';
comment on column sweep_ranking.forces_rmse_ev_per_ang is 'per component, of the best epoch on the validation split, eV/Å';
comment on column sweep_ranking.forces_mae_ev_per_ang is 'per component, of the best epoch on the validation split, eV/Å';
comment on column sweep_ranking.best_epoch is 'epoch whose weights became the model';
comment on column sweep_ranking.seconds is 'of training';
comment on column sweep_ranking.failure is 'why there is no score';
comment on column sweep_ranking.flow_run_id is 'Prefect flow run that trains it, or did it last';
comment on column sweep_ranking.sweep_id is 'sweep.id';
comment on column sweep_ranking.training_run_id is 'training_run.id';
comment on column sweep_ranking.model_version_id is 'model_version.id';
