"""The science of heo: curation, structures, models, finetuning, evaluation, reporting. It knows no Prefect and no database."""
