"""When and how often: thin Prefect flows over scoring."""

if __name__ != "nightscore.flows":
    from nightscore.schemas.import_name import refuse_folder_name

    refuse_folder_name(__name__, "nightscore.flows")
