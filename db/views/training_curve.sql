create view training_curve as
select
    training_run.id as training_run_id,
    training_run.name as run,
    model_version.name || '@' || model_version.version as model,
    training_run.strategy,
    training_run.state,
    epoch_metric.epoch,
    epoch_metric.train_loss,
    epoch_metric.validation_loss,
    epoch_metric.energy_rmse_ev_per_atom,
    epoch_metric.energy_mae_ev_per_atom,
    epoch_metric.forces_rmse_ev_per_ang,
    epoch_metric.forces_mae_ev_per_ang,
    epoch_metric.forces_q95_ev_per_ang,
    epoch_metric.stress_rmse_ev_per_ang3,
    epoch_metric.stress_mae_ev_per_ang3,
    epoch_metric.replay_energy_rmse_ev_per_atom,
    epoch_metric.replay_forces_rmse_ev_per_ang,
    epoch_metric.score,
    epoch_metric.lr,
    epoch_metric.seconds,
    coalesce(epoch_metric.epoch = training_run.best_epoch, false) as is_best
from training_run
join epoch_metric on epoch_metric.training_run_id = training_run.id
left join model_version on model_version.training_run_id = training_run.id;

comment on view training_curve is 'validation errors of every training run, one row an epoch';
comment on column training_curve.training_run_id is 'training_run.id';
comment on column training_curve.run is 'name of the model that the run makes';
comment on column training_curve.model is 'NAME@VERSION that it made; null until it is completed';
comment on column training_curve.strategy is 'naive, replay, freeze, lora or scratch';
comment on column training_curve.state is 'running, completed or failed';
comment on column training_curve.epoch is '0 before training, then 1, 2, ...';
comment on column training_curve.train_loss is 'mean loss over the epoch''s batches';
comment on column training_curve.validation_loss is 'loss on the validation split';
comment on column training_curve.energy_rmse_ev_per_atom is 'on the validation split, eV/atom';
comment on column training_curve.energy_mae_ev_per_atom is 'on the validation split, eV/atom';
comment on column training_curve.forces_rmse_ev_per_ang is 'per component, on the validation split, eV/Å';
comment on column training_curve.forces_mae_ev_per_ang is 'per component, on the validation split, eV/Å';
comment on column training_curve.forces_q95_ev_per_ang is '95th percentile of the absolute component errors, eV/Å';
comment on column training_curve.stress_rmse_ev_per_ang3 is 'per component, on the validation split, eV/Å³';
comment on column training_curve.stress_mae_ev_per_ang3 is 'per component, on the validation split, eV/Å³';
comment on column training_curve.replay_energy_rmse_ev_per_atom is 'on the replayed cells that were held out, eV/atom';
comment on column training_curve.replay_forces_rmse_ev_per_ang is 'on the replayed cells that were held out, eV/Å';
comment on column training_curve.score is 'robust validation score, no unit, lower is better';
comment on column training_curve.lr is 'learning rate of the epoch';
comment on column training_curve.seconds is 'wall time of the epoch';
comment on column training_curve.is_best is 'whether this epoch''s weights became the model';
