"""What data looks like: frozen records, no input or output."""

if __name__ != "nightscore.schemas":
    from nightscore.schemas.import_name import refuse_folder_name

    refuse_folder_name(__name__, "nightscore.schemas")
