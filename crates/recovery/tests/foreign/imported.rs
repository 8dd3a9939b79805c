//! Dumps that become recovery points, and plans.

use super::*;

#[test]
fn imported_dumps_are_points_and_come_back_from_the_vault() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    small(&server);
    let setting = setting(&server);
    let vault = setting.vault();
    let live = content(&server, "shop");
    let all = setting.path("all.sql");
    run(server.tool("pg_dumpall").arg("--file").arg(&all));
    let gz = setting.path("shop.sql.gz");
    let plain = setting.dump(&server, "shop.sql", &[], "shop");
    fs::write(&gz, run(Command::new("gzip").arg("-c").arg(&plain))).unwrap();
    let dumps = [
        gz,
        setting.dump(&server, "archive", &["-Fc"], "shop"),
        setting.dump(&server, "tar", &["-Ft"], "shop"),
        all,
    ];
    for path in &dumps {
        let outcome = import(&vault, &import_request(&setting, vec![path.clone()])).unwrap();
        assert!(outcome.point.is_imported());
        let request = DatabaseRestoreRequest {
            stack: &setting.stack,
            point: outcome.point.id.to_string(),
            service: "db".to_owned(),
            database: "shop".to_owned(),
            new_name: "again".to_owned(),
            guards: GuardOptions::default(),
        };
        let restored = restore_database(&vault, &request)
            .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        assert_eq!(restored.rows, 500);
        assert_eq!(content(&server, "again"), live, "{}", path.display());
        server.psql("drop database again");
    }
    let together = import(&vault, &import_request(&setting, dumps.to_vec())).unwrap();
    let files: Vec<_> = together
        .files
        .iter()
        .map(|file| file.file.as_str())
        .collect();
    assert_eq!(files, ["shop.sql", "shop.dump", "shop.tar", "all.sql"]);
    let directory = setting.dump(&server, "dir", &["-Fd"], "shop");
    import(&vault, &import_request(&setting, vec![directory])).unwrap();

    let status = status(&setting.stack, Ok(&vault));
    assert!(
        status.services[0].newest_point.is_none(),
        "an import is no backup of today"
    );
    assert!(status.services[0].rpo.is_missed);

    let before = points(&vault).unwrap().points.len();
    let cut = setting.path("cut.sql");
    let whole = fs::read(&plain).unwrap();
    fs::write(&cut, &whole[..whole.len() * 6 / 10]).unwrap();
    import(&vault, &import_request(&setting, vec![plain, cut])).unwrap_err();
    assert_eq!(points(&vault).unwrap().points.len(), before, "all or none");
    assert!(vault.locks().unwrap().is_empty());
}

fn import_request(setting: &Setting, files: Vec<PathBuf>) -> ImportRequest<'_> {
    ImportRequest {
        stack: &setting.stack,
        service: "db".to_owned(),
        files,
        database: None,
        tags: vec!["old".to_owned()],
        guards: GuardOptions::default(),
        progress: Arc::new(Progress::default()),
    }
}

#[test]
fn a_plan_changes_nothing_and_says_everything() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    small(&server);
    let setting = setting(&server);
    let path = setting.dump(&server, "shop.dump", &["-Fc"], "shop");
    let before = databases(&server);
    let plan = plan_foreign_restore(&ForeignRestoreRequest {
        swap: true,
        ..setting.request(&path)
    })
    .unwrap();
    assert!(plan.is_permitted);
    assert_eq!((plan.databases[0].tables, plan.databases[0].rows), (2, 500));
    assert_eq!(plan.databases[0].swaps.as_ref().unwrap().live, "shop");
    assert!(
        plan.steps
            .iter()
            .any(|step| step.contains("in one transaction"))
    );
    assert_eq!(databases(&server), before);
}
