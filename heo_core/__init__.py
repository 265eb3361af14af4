"""The science of heo: curation, structures, models, finetuning, evaluation, reporting. No Prefect, no database."""
