//! A server that is not the one that was streamed.

use super::*;

#[test]
fn a_server_that_is_another_one_is_refused_until_that_is_accepted() {
    let (Some(first), Some(second)) = (server(Major::V15), server(Major::V15)) else {
        return;
    };
    let rig = Rig::new(&first.url());
    load(&first, 1);
    let end = flushed(&first);
    rig.once();
    rig.configure(&second.url(), "", "");
    let refused = rig.home.run(&["wal", "stream", "--once"]);
    refused.fails_with(1, &format!("this server is cluster {}", system(&second)));
    let accepted = rig
        .home
        .run(&["wal", "stream", "--once", "--accept-new-server"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    let archive = rig.archive();
    assert_is_archived(&archive, &first, 1, end);
    assert_eq!(archive.systems().unwrap().len(), 2);
}

#[test]
fn a_server_that_went_back_in_time_is_refused() {
    let Some(mut pg) = server(Major::V15) else {
        return;
    };
    let rig = Rig::new(&pg.url());
    load(&pg, 1);
    rig.once();
    let dir = process::temp_dir().unwrap();
    let saved = dir.path().join("saved");
    pg.stop(Mode::Fast).unwrap();
    let copy = |from: &Path, to: &Path| {
        let mut cp = std::process::Command::new("cp");
        process::run(cp.arg("-a").arg(from).arg(to)).unwrap();
    };
    copy(pg.data_dir(), &saved);
    pg.start().unwrap();
    load(&pg, 3);
    rig.once();
    pg.stop(Mode::Fast).unwrap();
    fs::remove_dir_all(pg.data_dir()).unwrap();
    copy(&saved, pg.data_dir());
    pg.start().unwrap();
    rig.home
        .run(&["wal", "stream", "--once"])
        .fails_with(1, "restored to an earlier state");
    // It goes on beyond what is archived: its place says nothing any more, its bytes do.
    load(&pg, 5);
    rig.home
        .run(&["wal", "stream", "--once"])
        .fails_with(1, "is not what");
}
